import pytest

from scripts.speech.text import (
    PAD_TOKEN,
    TURKISH_ALPHABET,
    UNK_TOKEN,
    WORD_DELIMITER,
    TextNormalizer,
    ctc_vocabulary,
    find_alphabet,
)

DOT = "\u0307"
CIRCUMFLEX_ALPHABET = TURKISH_ALPHABET + "âîû"

turkish = TextNormalizer(TURKISH_ALPHABET)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"I{DOT}zmir", "izmir"),  # İ as two characters
        ("s\u0327eker u\u0308zu\u0308m", "şeker üzüm"),
        ("İstanbul'da", "istanbulda"),
        ("Ankara’nın `güzel´ evi", "ankaranın güzel evi"),
        ("'tırnak' içinde", "tırnak içinde"),
        ("kâğıt, hâlâ; lâzım!", "kağıt hala lazım"),
        ("café naïve señor", "cafe naive senor"),
        ("a-b/c_d", "a b c d"),
        ("3. sınıfta %20'si 1.250 lira", "üçüncü sınıfta yüzde yirmisi bin iki yüz elli lira"),
        ("2020'de", "iki bin yirmide"),
        ("  çok \t boşluk\n", "çok boşluk"),
        ("...?!", ""),
        ("", ""),
        ("Привет dünya", "dünya"),
    ],
)
def test_normalizer_keeps_only_letters_of_the_model(text: str, expected: str) -> None:
    assert turkish(text) == expected


def test_the_alphabet_decides_on_the_circumflex() -> None:
    assert TextNormalizer(CIRCUMFLEX_ALPHABET)("Kâğıt, a\u0302lem") == "kâğıt âlem"
    assert turkish("Kâğıt, a\u0302lem") == "kağıt alem"


def test_without_an_alphabet_every_letter_stays() -> None:
    assert TextNormalizer()("Kâğıt: Привет!") == "kâğıt привет"


def test_numbers_of_other_languages_are_not_spelled_in_turkish() -> None:
    assert TextNormalizer(language="en")("Room IX has 3 doors") == "room ix has doors"


@pytest.mark.parametrize(
    "text",
    [
        "İSTANBUL'DA 14:30'da kâğıt helva, %20 indirimle!",
        f"I{DOT}ki i{DOT}yi ıI",
        "“Hâlâ” mı? — 1.250,75 TL’ye…",
        "naïve café ﬁn ǆ ß ŉ",
    ],
)
@pytest.mark.parametrize("alphabet", [TURKISH_ALPHABET, CIRCUMFLEX_ALPHABET, ""])
def test_normalizing_twice_changes_nothing_more(text: str, alphabet: str) -> None:
    normalizer = TextNormalizer(alphabet)
    once = normalizer(text)
    assert normalizer(once) == once
    assert not alphabet or set(once) <= {*alphabet, " "}


def test_find_alphabet_takes_the_letters_and_leaves_rare_ones() -> None:
    texts = ["Çilek, İncir ve ILICA"] * 1000 + ["ñ"]
    assert find_alphabet(texts, "tr") == "".join(sorted("çilekncrvıa"))
    assert "ñ" in find_alphabet(texts, "tr", min_share=0.0)


def test_find_alphabet_of_nothing_is_empty() -> None:
    assert find_alphabet(["...", ""], "tr") == ""


def test_ctc_vocabulary_has_the_blank_first() -> None:
    vocabulary = ctc_vocabulary("abc")
    assert vocabulary == {PAD_TOKEN: 0, UNK_TOKEN: 1, WORD_DELIMITER: 2, "a": 3, "b": 4, "c": 5}


@pytest.mark.parametrize(
    ("tokens", "language", "text", "expected"),
    [
        ("ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZ", "tr", "Kısa bir YAZI, İyi", "kısa bir yazı iyi"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "tr", "Kısa bir yazı", "kisa bir yazi"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", "en", "THIS IS a naïve test", "this is a naive test"),
        ("abcçdefgğhıijklmnoöprsştuüvyz", "tr", "Łukasz'ın taxisi", "ukaszın taisi"),
    ],
)
def test_the_letters_of_a_model(tokens: str, language: str, text: str, expected: str) -> None:
    """Some have only capitals, and some of these no ı. Letters that a model does not have do not split a word."""
    assert TextNormalizer.for_tokens(["<pad>", "|", *tokens], language)(text) == expected
