from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.artifacts import open_artifact
from app.families.whisper.segments import WhisperDecoder
from app.families.whisper.settings import WhisperSettings, read_settings
from app.recognizer import Window
from app.transcript import Segment, Word
from tests.app.families.whisper.test_recognizer import GOOD, HZ
from tests.whisper_checkpoints import make_whisper


@pytest.fixture
def settings(checkpoints: Path) -> WhisperSettings:
    return read_settings(open_artifact(make_whisper(checkpoints)))


def window(start_s: float, duration_s: float) -> Window:
    return Window(np.zeros(int(duration_s * HZ), dtype=np.float32), int(start_s * HZ))


def times_of(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    return [(segment.start_s, segment.end_s) for segment in segments]


def test_a_window_without_text_has_no_segment(settings: WhisperSettings) -> None:
    decoder = WhisperDecoder(settings)
    assert decoder.add(window(3, 2), GOOD.emptied()) == []
    assert decoder.finish() == []


def test_without_times_a_window_is_a_segment(settings: WhisperSettings) -> None:
    tokens = tuple(settings.vocabulary.encode(" çok güzel"))
    (segment,) = WhisperDecoder(settings).add(window(3, 2), replace(GOOD, tokens=tokens, text="çok güzel"))
    assert (segment.text, segment.start_s, segment.end_s, segment.words) == ("çok güzel", 3.0, 5.0, ())
    assert segment.confidence == pytest.approx(np.exp(GOOD.average_log_probability))
    assert segment.decoding is not None
    assert (segment.decoding.tokens, segment.decoding.language) == (tokens, "tr")


@pytest.mark.parametrize(
    ("text", "language", "space_before"),
    [("çok", "tr", True), (" çok", "tr", True), ("東京", "ja", False), (" Tokyo", "ja", True), ("Tokyo", None, True)],
)
def test_segments_are_separated_by_spaces_if_the_script_has_them(
    settings: WhisperSettings, text: str, language: str | None, space_before: bool
) -> None:
    tokens = tuple(settings.vocabulary.encode(text))
    output = replace(GOOD, tokens=tokens, text=text.strip(), language=language)
    (segment,) = WhisperDecoder(settings).add(window(3, 2), output)
    assert (segment.text, segment.space_before) == (text.strip(), space_before)


def test_timestamps_make_segments_within_the_window(settings: WhisperSettings) -> None:
    encode, times = settings.vocabulary.encode, settings.special.timestamps
    tokens = (
        *(times[0], *encode(" çok"), times[50]),
        *(times[60], *encode(" güzel"), times[90]),
        *(times[90], *encode(" şimdi"), times[1500]),
    )
    scores = tuple(-0.001 * place for place in range(len(tokens)))
    output = replace(GOOD, tokens=tokens, log_probabilities=scores, text="çok güzel şimdi", timestamps=True)
    segments = WhisperDecoder(settings).add(window(10, 4), output)
    assert [segment.text for segment in segments] == ["çok", "güzel", "şimdi"]
    pieces = [segment.decoding.pieces for segment in segments if segment.decoding is not None]
    assert [b"".join(piece for piece, _ in part).decode().strip() for part in pieces] == ["çok", "güzel", "şimdi"]
    text = [score for token, score in zip(tokens, scores, strict=True) if token not in times]
    assert [score for part in pieces for _, score in part] == text
    np.testing.assert_allclose(times_of(segments), [(10.0, 11.0), (11.2, 11.8), (11.8, 14.0)])


def test_text_after_the_last_timestamp_lasts_to_the_end_of_the_window(settings: WhisperSettings) -> None:
    times = settings.special.timestamps
    tokens = (times[10], *settings.vocabulary.encode(" çok"))
    output = replace(GOOD, tokens=tokens, text="çok", timestamps=True)
    (segment,) = WhisperDecoder(settings).add(window(0, 4), output)
    np.testing.assert_allclose(times_of([segment]), [(0.2, 4.0)])


def test_words_are_grouped_and_shifted(settings: WhisperSettings) -> None:
    words = (Word("çok", 0.1, 0.5, 0.9), Word("güzel", 0.5, 1.0, 0.8), Word("şimdi", 3.0, 3.5, 0.7))
    segments = WhisperDecoder(settings).add(window(20, 4), replace(GOOD, text="çok güzel şimdi", words=words))
    assert [segment.text for segment in segments] == ["çok güzel", "şimdi"]
    np.testing.assert_allclose(times_of(segments), [(20.1, 21.0), (23.0, 23.5)])
    assert all(segment.decoding is not None for segment in segments)


def test_a_segment_has_the_text_of_its_tokens(settings: WhisperSettings) -> None:
    text = tuple(settings.vocabulary.encode(" çok güzel"))
    tokens = (settings.special.timestamps[0], *text)
    output = replace(
        GOOD, tokens=tokens, text="çok güzel", log_probabilities=(-1.0, *(-0.5 for _ in text), -2.0), timestamps=False
    )
    (segment,) = WhisperDecoder(settings).add(window(3, 2), output)
    assert segment.decoding is not None
    assert b"".join(piece for piece, _ in segment.decoding.pieces).decode() == " çok güzel"
    assert [value for _, value in segment.decoding.pieces] == [-0.5] * len(text)
