"""Languages, as clients, settings and models write them: ISO 639 codes and English names."""

import re
import unicodedata
from pathlib import Path

LANGUAGE_TAG = "^([A-Za-z]{2,3}([-_][A-Za-z0-9]+)*)?$"
"""A language tag, or nothing."""
MODEL_CARD = "README.md"
MAX_CARD_HEADER = 4096
"""Characters of a model card in which its header is looked for."""
NAMED_LANGUAGE = re.compile(r"^language: *\[? *[\"']?([A-Za-z_-]+)[\"']? *\]? *$", re.MULTILINE)
UNKNOWN_LANGUAGE = "unknown"
DOTLESS_I = ("tr", "az")
"""Languages in which I is the capital of ı, and İ of i."""

LANGUAGE_NAMES = {
    code: name.replace("_", " ")
    for code, name in (
        entry.split("=")
        for entry in """
        af=afrikaans am=amharic ar=arabic as=assamese az=azerbaijani ba=bashkir be=belarusian bg=bulgarian bn=bengali
        bo=tibetan br=breton bs=bosnian ca=catalan cs=czech cy=welsh da=danish de=german el=greek en=english es=spanish
        et=estonian eu=basque fa=persian fi=finnish fo=faroese fr=french gl=galician gu=gujarati ha=hausa haw=hawaiian
        he=hebrew hi=hindi hr=croatian ht=haitian_creole hu=hungarian hy=armenian id=indonesian is=icelandic it=italian
        ja=japanese jw=javanese ka=georgian kk=kazakh km=khmer kn=kannada ko=korean la=latin lb=luxembourgish ln=lingala
        lo=lao lt=lithuanian lv=latvian mg=malagasy mi=maori mk=macedonian ml=malayalam mn=mongolian mr=marathi ms=malay
        mt=maltese my=myanmar ne=nepali nl=dutch nn=nynorsk no=norwegian oc=occitan pa=punjabi pl=polish ps=pashto
        pt=portuguese ro=romanian ru=russian sa=sanskrit sd=sindhi si=sinhala sk=slovak sl=slovenian sn=shona so=somali
        sq=albanian sr=serbian su=sundanese sv=swedish sw=swahili ta=tamil te=telugu tg=tajik th=thai tk=turkmen
        tl=tagalog tr=turkish tt=tatar uk=ukrainian ur=urdu uz=uzbek vi=vietnamese yi=yiddish yo=yoruba yue=cantonese
        zh=chinese
        """.split()
    )
}
"""ISO 639 code -> English name, as OpenAI's API and openai/whisper (tokenizer.py) write them."""
CODES = {name: code for code, name in LANGUAGE_NAMES.items()}


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


def language_named(text: str | None) -> str | None:
    """The ISO 639 code of a language tag or of an English name, such as `Turkish`. None of an empty text.

    Raises ValueError if it is neither.
    """
    return CODES.get((text or "").strip().lower()) or language_code(text)


def english_name(code: str | None) -> str:
    """The English name of a language, in lower case; the code itself if it has no known name."""
    return UNKNOWN_LANGUAGE if code is None else LANGUAGE_NAMES.get(code, code)


def lower_case(text: str, language: str | None) -> str:
    """Text in lower case by the rules of a language (ISO 639 code): Turkish and Azerbaijani have a dotless i."""
    if language in DOTLESS_I:
        text = text.replace("I", "ı")
    # str.lower converts İ to i and U+0307. NFC composes what it can, and any remaining i with U+0307 becomes i.
    return unicodedata.normalize("NFC", text.lower()).replace("i\u0307", "i")


def card_language(folder: Path) -> str | None:
    """The language that the model card in a model folder names in its header; None if it names none or several."""
    try:
        with (folder / MODEL_CARD).open(encoding="utf-8") as card:
            header = re.match(r"---\n(.*?)\n---", card.read(MAX_CARD_HEADER), re.DOTALL)
        named = re.search(
            r"^language: *\[? *[\"']?([A-Za-z_-]+)[\"']? *\]? *$", header[1] if header else "", re.MULTILINE
        )
        return language_code(named[1]) if named else None
    except (OSError, ValueError):
        return None
