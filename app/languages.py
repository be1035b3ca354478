"""Language codes, as clients and settings write them."""

import re


def language_code(text: str | None) -> str | None:
    """The ISO 639 code in a language tag: `tr` of `TR`, `tr-TR` or `tr_TR`. None of an empty text.

    Raises ValueError if the text is not a language tag.
    """
    if text is None or not text.strip():
        return None
    code = re.split("[-_]", text.strip().lower())[0]
    if not re.fullmatch("[a-z]{2,3}", code):
        raise ValueError("must be a language code, such as tr")
    return code
