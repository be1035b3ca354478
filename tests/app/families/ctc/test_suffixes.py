import pytest

from app.families.ctc.suffixes import is_suffix, with_suffix


@pytest.mark.parametrize(
    "suffix",
    """ı i u ü yı yi a e ya ye da de ta te dan den tan ten ın in nın nin
    un nun la le yla yle daki deki dekiler dakilerin ım im m ımız n niz ları larını larında ndan nda dır
    dir tır ydı ymış yse yken im yim lar ler lara lerin lı li lık lığı siz ci çi cı ca ce
    gil ındaki""".split(),
)
def test_turkish_endings(suffix: str) -> None:
    assert is_suffix(suffix, "tr") == (suffix != "n")


@pytest.mark.parametrize(
    "letters", ["", "r", "mak", "iyor", "ıyor", "gücü", "verdi", "ştır", "maca", "b", "dal", "larlarlarlarlarlar"]
)
def test_what_is_none(letters: str) -> None:
    assert not is_suffix(letters, "tr")


def test_other_languages() -> None:
    assert is_suffix("s", "en")
    assert not is_suffix("da", "en")
    assert not is_suffix("s", "de")
    assert not is_suffix("s", None)


@pytest.mark.parametrize(
    ("word", "suffix", "expected"),
    [
        ("Dikte", "ye", "Dikte'ye"),
        ("Ahmet", "in", "Ahmet'in"),
        ("Kadıköy", "de", "Kadıköy'de"),
        ("IBM", "den", "IBM'den"),
        ("Ahmet", "ler", "Ahmetler"),
        ("Ankara", "lılar", "Ankaralılar"),
        ("fatura", "da", "faturada"),
        ("iPhone", "u", "iPhone'u"),
    ],
)
def test_names_take_an_apostrophe(word: str, suffix: str, expected: str) -> None:
    assert with_suffix(word, suffix, "tr") == expected


def test_the_possessive() -> None:
    assert with_suffix("Dublin", "s", "en") == "Dublin's"
