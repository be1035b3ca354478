from pathlib import Path

import pytest

from app.languages import LANGUAGE_NAMES, card_language, english_name, language_code, language_named, lower_case


@pytest.mark.parametrize("text", ["tr", "TR", "tr-TR", "tr_TR", "turkish", "Turkish", " TURKISH "])
def test_a_language_by_its_code_or_name(text: str) -> None:
    assert language_named(text) == "tr"


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_language(text: str | None) -> None:
    assert language_named(text) is language_code(text) is None


@pytest.mark.parametrize("text", ["klingonese", "t", "1r", "tr!"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="language code"):
        language_named(text)


def test_english_names() -> None:
    assert (english_name("tr"), english_name("ht"), english_name("xx"), english_name(None)) == (
        "turkish", "haitian creole", "xx", "unknown"
    )  # fmt: skip
    assert all(language_named(name) == code for code, name in LANGUAGE_NAMES.items())


def test_names_are_those_of_whisper() -> None:
    whisper = pytest.importorskip("transformers.models.whisper.tokenization_whisper")
    assert whisper.LANGUAGES == LANGUAGE_NAMES


@pytest.mark.parametrize(
    ("card", "language"),
    [
        ("---\nlanguage: tr\n---\n", "tr"),
        ("---\nlicense: mit\nlanguage: [ 'tr' ]\n---\n# language: en\n", "tr"),
        ("---\nlanguage: zh-TW\n---\n", "zh"),
        ("---\nlanguage: [tr, en]\n---\n", None),
        ("---\nlanguage: multilingual\n---\n", None),
        ("language: tr\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_language_that_a_model_card_names(tmp_path: Path, card: str | None, language: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert card_language(tmp_path) == language


def test_a_model_card_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"---\nlanguage: \xff\n---\n")
    assert card_language(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("IĞDIR İZMİR", "tr", "ığdır izmir"),
        ("IĞDIR İZMİR", "az", "ığdır izmir"),
        ("ISTANBUL", "en", "istanbul"),
        ("İyi", "en", "iyi"),
        ("ŞÜPHE ÇÖĞÜR", "tr", "şüphe çöğür"),
        ("i\u0307yi", "tr", "iyi"),
    ],
)
def test_lower_case_follows_the_language(text: str, language: str, expected: str) -> None:
    assert lower_case(text, language) == expected
