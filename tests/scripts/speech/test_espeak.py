"""espeak-ng's word times are those of its sound."""

import numpy as np
import pytest

from scripts.speech.espeak import Espeak, EspeakError

FRAME_S = 0.01
TOLERANCE_S = 0.03
LOUD = 0.002
"""Of the mean absolute sample: espeak-ng's pauses are below, its words above."""


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def test_words_begin_where_the_sound_does(espeak: Espeak) -> None:
    spoken = espeak.speak("Finally we all use normal words", "en", word_gap=30)
    frame = round(FRAME_S * spoken.rate_hz)
    frames = spoken.samples[: len(spoken.samples) // frame * frame].reshape(-1, frame)
    loud = np.abs(frames).mean(axis=1) > LOUD
    quiet_before = np.array([not loud[max(0, place - 5) : place].any() for place in range(len(loud))])
    onsets_s = np.flatnonzero(loud & quiet_before) * FRAME_S
    assert len(spoken.starts_s) == 6
    for start_s in spoken.starts_s:
        assert start_s is not None
        assert np.abs(onsets_s - start_s).min() <= TOLERANCE_S


def test_words_that_are_said_as_one_have_one_time(espeak: Espeak) -> None:
    starts_s = espeak.speak("please call for the phone", "en").starts_s
    assert [start_s is None for start_s in starts_s] == [False, False, False, True, False]


def test_a_number_begins_with_its_first_word(espeak: Espeak) -> None:
    _, number_s, after_s = espeak.speak("saat 1999 oldu", "tr").starts_s
    assert number_s is not None
    assert after_s is not None
    assert after_s - number_s > 1.0


def test_letters_of_several_bytes_move_no_word(espeak: Espeak) -> None:
    assert None not in espeak.speak("çiğdem şöyle güzel söylüyor", "tr").starts_s


def test_voice_and_speed_matter(espeak: Espeak) -> None:
    slow, fast = (espeak.speak("merhaba dünya", "tr+f3", speed_wpm=speed) for speed in (100, 200))
    assert len(slow.samples) > 1.5 * len(fast.samples)


def test_what_cannot_be_said_is_an_error(espeak: Espeak) -> None:
    with pytest.raises(EspeakError, match="no voice qqq"):
        espeak.speak("merhaba", "qqq")
    with pytest.raises(EspeakError, match="says nothing"):
        espeak.speak("", "tr")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(EspeakError, match="apt-get install espeak-ng"):
        Espeak()
