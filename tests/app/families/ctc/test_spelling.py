import pytest

from app.errors import InvalidParameter
from app.families.ctc.decoding import Vocabulary
from app.families.ctc.spelling import Letters
from app.keywords import Keyword

ALPHABET = "abcçdefgğhıijklmnoöprsştuüvyz"


def vocabulary(letters: str) -> Vocabulary:
    return Vocabulary(("<pad>", "<unk>", "|", "'", *letters), 0, "|", frozenset({"<pad>", "<unk>"}))


TURKISH = Letters(vocabulary(ALPHABET), "tr")
ENGLISH = Letters(vocabulary("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), "en")


def spelled(text: str, letters: Letters = TURKISH, sounds_like: str = "") -> list[str]:
    """The spellings, with a space between words, and `+` after one that needs a suffix."""
    found = []
    for spelling in letters.spellings(Keyword(text, 1.0, sounds_like)):
        words: dict[int, str] = {}
        for letter, word in zip(spelling.letters, spelling.words, strict=True):
            words[word] = words.get(word, "") + letter
        found.append(" ".join(words.values()) + "+" * spelling.before_vowel)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Kadıköy", ["kadıköy"]),
        ("İZMİR", ["izmir"]),
        ("Türk Hava Yolları", ["türk hava yolları"]),
        ("Coca-Cola", ["coca cola"]),
        ("Hâlâ", ["hala"]),
        ("O'Reilly", ["oreilly"]),
        ("Max Wagner", ["maks vagner"]),
        ("Ko\u0308y", ["köy"]),
    ],
)
def test_turkish(text: str, expected: list[str]) -> None:
    assert spelled(text) == expected


def test_a_capital_i_may_be_either_letter() -> None:
    assert spelled("IKEA") == ["ıkea", "ikea"]
    assert spelled("Iğdır") == ["ığdır", "iğdır"]


@pytest.mark.parametrize(
    ("text", "softened"),
    [("Zonguldak", "zonguldağ+"), ("Ahmet", "ahmed+"), ("Balıkçılarkenk", "balıkçılarkeng+"), ("Recep", "receb+")],
)
def test_the_end_softens_before_a_vowel(text: str, softened: str) -> None:
    assert spelled(text)[-1] == softened


def test_short_words_do_not_soften() -> None:
    assert spelled("Can Kat") == ["can kat"]


def test_upper_case_vocabularies() -> None:
    assert spelled("Dublin", ENGLISH) == ["dublin"]
    assert spelled("IKEA", ENGLISH) == ["ikea"]
    assert ENGLISH.ids["d"] == (7,)


def test_how_it_is_said_counts() -> None:
    assert spelled("5G", sounds_like="beş ge") == ["beş ge"]


@pytest.mark.parametrize(("text", "character"), [("5G", "5"), ("Доктор", "д"), ("AT&T", "&"), ("50%", "5")])
def test_what_cannot_be_written_is_refused(text: str, character: str) -> None:
    with pytest.raises(
        InvalidParameter, match=f"no letter for {character!r} of the keyword {text!r}.*{text}="
    ) as caught:
        spelled(text)
    assert caught.value.details == {"field": "keywords"}


def test_letters_of_two_tokens() -> None:
    letters = Letters(Vocabulary(("<pad>", "|", "c", "\u0327", "i", "\u0307", "a"), 0, "|", frozenset({"<pad>"})), None)
    assert "\u0307" not in letters.ids, "the dot of an i is no sound"
    assert letters.spellings(Keyword("Çi"))[0].letters == ("c", "\u0327", "i")


def test_the_language_is_guessed_from_the_letters() -> None:
    assert Letters(vocabulary(ALPHABET), None).language == "tr"
    assert Letters(vocabulary(ALPHABET + "ə"), None).language is None
    assert Letters(vocabulary("abc"), None).language is None
