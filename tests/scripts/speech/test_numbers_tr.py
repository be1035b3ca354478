import pytest

from scripts.speech.numbers_tr import join_suffix, spell_numbers, turkish_number, turkish_ordinal


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "sıfır"),
        (7, "yedi"),
        (10, "on"),
        (45, "kırk beş"),
        (100, "yüz"),
        (101, "yüz bir"),
        (280, "iki yüz seksen"),
        (1000, "bin"),
        (1923, "bin dokuz yüz yirmi üç"),
        (2001, "iki bin bir"),
        (11000, "on bir bin"),
        (123400, "yüz yirmi üç bin dört yüz"),
        (1000000, "bir milyon"),
        (1001000, "bir milyon bin"),
        (3000000016, "üç milyar on altı"),
        (999_000_000_999, "dokuz yüz doksan dokuz milyar dokuz yüz doksan dokuz"),
        (10**12, "bir trilyon"),
    ],
)
def test_turkish_number(number: int, words: str) -> None:
    assert turkish_number(number) == words


@pytest.mark.parametrize("number", [-1, 10**12 + 1])
def test_turkish_number_refuses_what_it_cannot_spell(number: int) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        turkish_number(number)


def test_ten_thousand_numbers_are_all_spelled_differently() -> None:
    assert len({turkish_number(number) for number in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "birinci"), (2, "ikinci"), (4, "dördüncü"), (6, "altıncı"), (40, "kırkıncı"), (100, "yüzüncü")],
)
def test_turkish_ordinal(number: int, words: str) -> None:
    assert turkish_ordinal(number) == words


def test_dort_softens_before_a_vowel_only() -> None:
    assert join_suffix("yirmi dört", "e") == "yirmi dörde"
    assert join_suffix("yirmi dört", "te") == "yirmi dörtte"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.250 lira", "bin iki yüz elli lira"),
        ("12.345.678", "on iki milyon üç yüz kırk beş bin altı yüz yetmiş sekiz"),
        ("3,5 kilo", "üç virgül beş kilo"),
        ("1,05", "bir virgül sıfır beş"),
        ("%20", "yüzde yirmi"),
        ("50% indirim, 50%'si", "yüzde elli indirim, yüzde ellisi"),
        ("H2O ve A4", "H iki O ve A dört"),
        ("2x + 3y", "iki x + üç y"),
        ("5cm, 10TL", "beş cm, on TL"),
        ("90lar", "doksanlar"),
        ("%20'si, %3,5", "yüzde yirmisi, yüzde üç virgül beş"),
        ("saat 14:30'da", "saat on dört otuzda"),
        ("9:05", "dokuz sıfır beş"),
        ("14.00", "on dört"),
        ("3. sınıf", "üçüncü sınıf"),
        ("Sayı 3. Sonra 4.", "Sayı üç. Sonra dört."),
        ("2020'de 4'e", "iki bin yirmide dörde"),
        ("0532 123 45 67", "sıfır beş yüz otuz iki yüz yirmi üç kırk beş altmış yedi"),
        ("29.10.1923'te", "yirmi dokuz ekim bin dokuz yüz yirmi üçte"),
        ("-5 derece", "eksi beş derece"),
        ("1, 2, 3", "bir, iki, üç"),
        ("1234567890123", "bir iki üç dört beş altı yedi sekiz dokuz sıfır bir iki üç"),
        ("sayı yok", "sayı yok"),
    ],
)
def test_spell_numbers(text: str, words: str) -> None:
    assert spell_numbers(text) == words
