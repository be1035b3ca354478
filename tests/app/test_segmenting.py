import pytest

from app.segmenting import Segmenter
from app.transcript import Segment, Word


def words(*spans: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text, start_s, end_s, 0.9) for text, start_s, end_s in spans)


def segments_of(words: tuple[Word, ...]) -> list[Segment]:
    segmenter = Segmenter()
    return segmenter.add(words) + segmenter.finish()


SPOKEN = words(("bir", 0.5, 0.9), ("iki", 1.0, 1.3), ("üç", 3.0, 3.25), ("dört", 3725.0, 3725.5))


def test_segments_begin_at_pauses() -> None:
    assert [segment.text for segment in segments_of(SPOKEN)] == ["bir iki", "üç", "dört"]


def test_segments_stay_short_enough_to_read() -> None:
    spoken = words(*((f"kelime{i:02d}", i * 0.5, i * 0.5 + 0.4) for i in range(100)))
    segments = segments_of(spoken)
    assert all(segment.end_s - segment.start_s <= 7.0 and len(segment.text) <= 84 for segment in segments)
    assert tuple(word for segment in segments for word in segment.words) == spoken


@pytest.mark.parametrize(("length", "segments"), [(41, 1), (42, 2)])
def test_a_segment_has_at_most_84_characters(length: int, segments: int) -> None:
    assert len(segments_of(words(("a" * 42, 0.0, 1.0), ("b" * length, 1.0, 2.0)))) == segments


@pytest.mark.parametrize(("characters", "segments"), [(84, 1), (85, 2), (168, 2), (169, 3)])
def test_spaces_count_only_where_they_are(characters: int, segments: int) -> None:
    spoken = tuple(Word("語", i * 0.01, i * 0.01 + 0.01, 0.9, space_before=False) for i in range(characters))
    found = segments_of(spoken)
    assert len(found) == segments
    assert "".join(segment.text for segment in found) == "語" * characters


def test_a_word_longer_than_a_segment_stands_alone() -> None:
    assert [s.text for s in segments_of(words(("a" * 200, 0.0, 1.0), ("b", 1.0, 1.2)))] == ["a" * 200, "b"]


def test_it_does_not_matter_how_words_come() -> None:
    segmenter = Segmenter()
    assert segmenter.add(SPOKEN[:1]) == []
    assert [segment.text for segment in segmenter.add(SPOKEN[1:3])] == ["bir iki"]
    assert [segment.text for segment in segmenter.add(SPOKEN[3:])] == ["üç"]
    assert [segment.text for segment in segmenter.finish()] == ["dört"]
    assert segmenter.finish() == []


def test_a_segment_is_as_sure_as_its_letters() -> None:
    segment = Segment.of((Word("ab", 0.0, 1.0, 0.9), Word("c", 1.0, 2.0, 0.5)))
    assert segment.confidence == pytest.approx((0.9 * 0.9 * 0.5) ** (1 / 3))
    assert (segment.start_s, segment.end_s) == (0.0, 2.0)


def test_what_gets_too_long_ends_at_its_longest_pause() -> None:
    spoken = words(*((f"w{i}", i + 0.3 * (i > 4), i + 0.9 + 0.3 * (i > 4)) for i in range(10)))
    first, second = segments_of(spoken)
    assert (first.text, second.text) == ("w0 w1 w2 w3 w4", "w5 w6 w7 w8 w9")


def test_words_that_lie_within_one_another_are_all_kept() -> None:
    spoken = words(("47.5", 0.0, 47.5), ("seconds", 0.0, 47.5), ("in", 3.0, 4.0))
    assert " ".join(segment.text for segment in segments_of(spoken)) == "47.5 seconds in"


@pytest.mark.parametrize(("time_s", "complete"), [(1.3, False), (2.0, False), (2.2, True)])
def test_a_pause_completes_a_segment_before_the_next_word_comes(time_s: float, complete: bool) -> None:
    segmenter = Segmenter()
    assert segmenter.start_s is None
    segmenter.add(SPOKEN[:2])
    assert segmenter.start_s == 0.5
    assert [segment.text for segment in segmenter.until(time_s)] == ["bir iki"] * complete
    assert [segment.text for segment in segmenter.finish()] == ["bir iki"] * (not complete)
    assert segmenter.until(10.0) == []
