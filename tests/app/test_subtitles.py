"""Subtitles keep their limits, whatever was said and however fast."""

import random
from itertools import pairwise

import pytest

from app.segmenting import Segmenter
from app.subtitles import GAP_S, LEAD_IN_S, MAX_LAG_S, MAX_SUBTITLE_S, Subtitle, SubtitleStyle, subtitles
from app.transcript import Segment, Word

STYLE = SubtitleStyle()
EPSILON_S = 1e-6


def segments_of(words: list[Word]) -> list[Segment]:
    segmenter = Segmenter()
    return segmenter.add(words) + segmenter.finish()


def speech(seed: int, count: int, letters_per_s: float) -> list[Word]:
    """Words at a rate, with pauses of all lengths."""
    chance = random.Random(seed)
    words, now_s = [], chance.uniform(0, 2)
    for _ in range(count):
        text = "".join(chance.choices("abcçdefgğhıijklmnoöprsştuüvyz", k=chance.randint(1, 14)))
        end_s = now_s + len(text) / letters_per_s
        words.append(Word(text, now_s, end_s, 0.9))
        now_s = end_s + chance.choice([0.0, 0.02, 0.1, 0.3, 0.9, 2.5])
    return words


def text_of(found: list[Subtitle]) -> list[str]:
    return " ".join(line for subtitle in found for line in subtitle.lines).split()


def assert_readable(found: list[Subtitle], style: SubtitleStyle = STYLE) -> None:
    """Two lines that are short enough, a second at least, one after the other, with a gap."""
    for subtitle in found:
        assert 1 <= len(subtitle.lines) <= 2
        assert all(len(line) <= style.line_characters or " " not in line for line in subtitle.lines)
        assert subtitle.end_s - subtitle.start_s >= style.min_s - EPSILON_S
        assert subtitle.start_s >= 0
    for before, after in pairwise(found):
        assert after.start_s - before.end_s >= GAP_S - EPSILON_S


def speed(subtitle: Subtitle) -> float:
    return len(" ".join(subtitle.lines)) / (subtitle.end_s - subtitle.start_s)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("letters_per_s", [5.0, 13.0, 16.0])
def test_what_people_say_can_be_read(seed: int, letters_per_s: float) -> None:
    words = speech(seed, 120, letters_per_s)
    found = subtitles(segments_of(words), words[-1].end_s + 2)
    assert_readable(found)
    assert text_of(found) == [word.text for word in words]
    assert all(speed(subtitle) <= STYLE.characters_per_s + EPSILON_S for subtitle in found)
    starts_s = {word.start_s for word in words}
    for subtitle in found:
        assert min(abs(subtitle.start_s - start_s) for start_s in starts_s) <= MAX_LAG_S


@pytest.mark.parametrize("seed", range(5))
def test_who_speaks_too_fast_is_still_followed(seed: int) -> None:
    """The reading speed yields, so that text and sound stay together."""
    words = speech(seed, 300, 60.0)
    found = subtitles(segments_of(words), words[-1].end_s)
    assert_readable(found)
    assert text_of(found) == [word.text for word in words]
    place = 0
    for subtitle in found:
        assert -LEAD_IN_S <= subtitle.start_s - words[place].start_s <= MAX_LAG_S + GAP_S + STYLE.min_s
        place += len(text_of([subtitle]))


def test_words_at_the_same_time_never_make_one_that_runs_backwards() -> None:
    words = [Word("47.5", 0.0, 47.5, 1.0), Word("seconds", 0.0, 47.5, 1.0), Word("inside", 20.0, 21.0, 1.0)]
    found = subtitles([Segment.of(tuple(words))], 47.5)
    assert_readable(found)
    assert text_of(found) == ["47.5", "seconds", "inside"]
    assert_readable(subtitles([Segment.of((word,)) for word in [*words, Word("back", 5.0, 4.0, 1.0)]], 47.5))


def test_a_word_of_no_length_is_shown_for_a_second() -> None:
    (found,) = subtitles([Segment.of((Word("a", 3.0, 3.0, 0.9),))], 10.0)
    assert (found.start_s, found.end_s) == (3.0, 4.0)


def test_at_the_end_of_a_clip_it_comes_earlier_instead_of_later() -> None:
    (found,) = subtitles([Segment.of((Word("a", 9.4, 9.8, 0.9),))], 10.0)
    assert [found.start_s, found.end_s] == pytest.approx([9.0, 10.0])


def test_a_pause_stays_empty() -> None:
    one, two = Word("bir", 0.0, 1.5, 0.9), Word("iki", 4.0, 5.5, 0.9)
    first, second = subtitles(segments_of([one, two]), 10.0)
    assert (first.end_s, second.start_s) == (1.5, 4.0)


def test_what_would_be_too_short_is_shown_with_what_follows() -> None:
    words = [Word("evet", 1.0, 1.1, 0.9), Word("doğru", 1.95, 2.6, 0.9)]
    (found,) = subtitles(segments_of(words), 10.0)
    assert (found.lines, found.start_s, found.end_s) == (("evet doğru",), 1.0, 2.6)


def test_a_long_text_is_divided_at_its_pause() -> None:
    said = ["on", "iki", "kelime"] * 9
    starts_s = [i * 0.2 + 0.7 * (i > 11) for i in range(len(said))]
    words = [Word(text, start_s, start_s + 0.2, 0.9) for text, start_s in zip(said, starts_s, strict=True)]
    found = subtitles([Segment.of(tuple(words))], 10.0)
    assert_readable(found)
    assert [len(text_of([subtitle])) for subtitle in found] == [12, 15]


def test_both_lines_are_about_as_long() -> None:
    words = tuple(Word("kelime", i * 0.5, i * 0.5 + 0.4, 0.9) for i in range(8))
    (found,) = subtitles([Segment.of(words)], 10.0)
    assert [len(line) for line in found.lines] == [27, 27]


def test_no_word_is_split() -> None:
    (found,) = subtitles([Segment.of((Word("a" * 60, 0.0, 1.0, 0.9),))], 10.0)
    assert found.lines == ("a" * 60,)
    assert found.end_s == pytest.approx(60 / STYLE.characters_per_s)


def test_a_segment_without_words_has_them_where_they_would_be() -> None:
    text = "Bu uzun bir cümle. " * 12
    found = subtitles([Segment(text.strip(), 10.0, 40.0, 0.9)], 60.0)
    assert_readable(found)
    assert text_of(found) == text.split()
    assert all(subtitle.end_s - subtitle.start_s <= MAX_SUBTITLE_S for subtitle in found)
    assert found[0].start_s == 10.0
    assert found[-1].end_s == pytest.approx(40.0)


def test_a_script_without_spaces_is_divided_between_characters() -> None:
    found = subtitles([Segment("語" * 300, 0.0, 60.0, 0.9)], 60.0)
    assert_readable(found)
    assert "".join(line for subtitle in found for line in subtitle.lines) == "語" * 300
    assert all(len(line) <= 42 for subtitle in found for line in subtitle.lines)


@pytest.mark.parametrize(
    "style", [SubtitleStyle(20, 17.0, 1.0), SubtitleStyle(42, 8.0, 1.0), SubtitleStyle(60, 17.0, 3.0)]
)
def test_the_three_numbers_are_kept(style: SubtitleStyle) -> None:
    words = speech(1, 60, 7.0)
    found = subtitles(segments_of(words), words[-1].end_s + 5, style)
    assert_readable(found, style)
    assert text_of(found) == [word.text for word in words]
    assert max(len(line) for subtitle in found for line in subtitle.lines) <= style.line_characters


def test_speakers_have_subtitles_of_their_own() -> None:
    said = [
        Segment("merhaba", 0.0, 2.0, 0.9, speaker="A"),
        Segment("kim konuşuyor", 1.0, 3.0, 0.9, speaker="B"),
        Segment("benim", 4.0, 5.0, 0.9, speaker="A"),
    ]
    found = subtitles(said, 10.0)
    assert [(subtitle.speaker, subtitle.lines[0], subtitle.start_s) for subtitle in found] == [
        ("A", "merhaba", 0.0), ("B", "kim konuşuyor", 1.0), ("A", "benim", 4.0)
    ]  # fmt: skip
    for speaker in "AB":
        assert_readable([subtitle for subtitle in found if subtitle.speaker == speaker])


def test_the_name_of_a_speaker_takes_space_on_the_first_line() -> None:
    segment = Segment("a" * 20 + " " + "b" * 20, 0.0, 5.0, 0.9, speaker="Mehmet")
    (found,) = subtitles([segment], 10.0)
    assert found.lines == ("a" * 20, "b" * 20)


def test_nothing_said_has_none() -> None:
    assert subtitles([], 10.0) == []
    assert subtitles([Segment("", 0.0, 1.0, 0.0)], 10.0) == []
