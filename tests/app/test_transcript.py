import pytest

from app.transcript import Segment, Timings, Transcript, Word, joined


def words_of(*texts: str) -> tuple[Word, ...]:
    """A word per text; those that begin with a space have one before them."""
    return tuple(
        Word(text.strip(), float(index), index + 1.0, 0.9, space_before=text.startswith(" "))
        for index, text in enumerate(texts)
    )


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        ((" bir", " iki"), "bir iki"),
        (("bir", " iki"), "bir iki"),
        (("東", "京", "へ"), "東京へ"),
        (("東京", " OK", "です"), "東京 OKです"),
        ((), ""),
    ],
)
def test_words_are_joined_as_they_were_written(texts: tuple[str, ...], text: str) -> None:
    assert joined(words_of(*texts)) == text


def test_words_are_separated_by_spaces_unless_they_say_otherwise() -> None:
    assert joined([Word("bir", 0.0, 1.0, 0.9), Word("iki", 1.0, 2.0, 0.9)]) == "bir iki"


def test_a_segment_is_separated_as_its_first_word_is() -> None:
    segments = (Segment.of(words_of("東", "京")), Segment.of(words_of("です")), Segment.of(words_of(" OK", "?")))
    assert [(segment.text, segment.space_before) for segment in segments] == [
        ("東京", False),
        ("です", False),
        ("OK?", True),
    ]
    assert Transcript(segments, 9.0, Timings(0.0, 0.0, 0.0, 0.0)).text == "東京です OK?"
