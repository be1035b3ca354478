import pytest

from app.errors import InvalidParameter
from app.keywords import MAX_CHARACTERS, MAX_KEYWORDS, Keyword, added, parse_keyword, parse_keywords


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("Kadıköy", Keyword("Kadıköy")),
        ("  Türk   Hava Yolları ", Keyword("Türk Hava Yolları")),
        ("Kadıköy:2", Keyword("Kadıköy", 2.0)),
        ("Kadıköy: .5", Keyword("Kadıköy", 0.5)),
        ("WhatsApp=vatsap", Keyword("WhatsApp", 1.0, "vatsap")),
        ("5G = beş ge :1.5", Keyword("5G", 1.5, "beş ge")),
        ("Not: önemli", Keyword("Not: önemli")),
    ],
)
def test_an_entry(entry: str, expected: Keyword) -> None:
    assert parse_keyword(entry) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("...", "no letters"),
        (":2", "no letters"),
        ("=vatsap", "no letters"),
        ("Kadıköy:0", "above 0, and at most 5"),
        ("Kadıköy:-1", "above 0, and at most 5"),
        ("Kadıköy:5.1", "above 0, and at most 5"),
        ("a" * (MAX_CHARACTERS + 1), "longer than 100"),
        ("a=" + "b" * (MAX_CHARACTERS + 1), "longer than 100"),
    ],
)
def test_what_is_no_keyword_is_refused(entry: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as caught:
        parse_keyword(entry)
    assert caught.value.details["field"] == "keywords"
    assert len(caught.value.message) < 120, "long entries are not repeated"


def test_lists_are_separated_and_repeated() -> None:
    assert parse_keywords(["Ada, Ege\nSu;Nil", "", " , ", "Can"]) == tuple(
        map(Keyword, ("Ada", "Ege", "Su", "Nil", "Can"))
    )
    assert parse_keywords([]) == ()


def test_a_repeated_keyword_counts_once() -> None:
    assert parse_keywords(["Ada, Ege", "Ada:2"]) == (Keyword("Ada", 2.0), Keyword("Ege"))


def test_their_number_is_limited() -> None:
    names = [f"ad{number}" for number in range(MAX_KEYWORDS)]
    assert len(parse_keywords(names)) == MAX_KEYWORDS
    with pytest.raises(InvalidParameter, match="501 keywords; 500 is the limit"):
        parse_keywords([",".join(names), "Ada"])


def test_a_request_adds_to_the_settings() -> None:
    assert added((Keyword("Ada"), Keyword("Ege")), (Keyword("Ege", 2.0), Keyword("Su"))) == (
        Keyword("Ada"), Keyword("Ege", 2.0), Keyword("Su")
    )  # fmt: skip
