"""The straight line over an engine whose words are known: it says "a" where a frame is loud, "|" after it is silent."""

import asyncio
import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app.admission import Admission, Reservation
from app.audio import AudioLimits
from app.errors import AudioTooLong, NotReady
from app.families.ctc.decoding import Emissions, Vocabulary
from app.families.ctc.settings import CtcSettings, FeatureSettings
from app.families.ctc.windows import Framing
from app.recognizer import ChannelMode, Options, Samples, Windowing
from app.scheduler import Scheduler
from app.transcriber import Transcriber
from app.transcript import Transcript
from tests.fakes import PATIENCE_S, FakeCtc, all_lanes

RATE_HZ = 16_000
FRAMING = Framing(hop=320, receptive_field=400)
VOCABULARY = Vocabulary(("<pad>", "|", "a"), blank=0, word_delimiter="|", special=frozenset({"<pad>"}))
SETTINGS = CtcSettings(FeatureSettings(RATE_HZ, normalize=False), FRAMING, VOCABULARY)
LIMITS = AudioLimits(max_duration_s=4000.0, max_decoded_bytes=1 << 30, max_channels=8)


class LoudnessEngine(FakeCtc):
    """ "a" in loud frames, "|" in the second silent frame after one, else the blank."""

    longest = 0
    computed_s = 0.0

    def __init__(self) -> None:
        super().__init__(SETTINGS, Windowing(window_s=10.0, overlap_s=2.0))

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        return [self._one(samples) for samples in clips]

    def _one(self, samples: Samples) -> Emissions:
        self.longest = max(self.longest, len(samples))
        self.computed_s += len(samples) / RATE_HZ
        frames = FRAMING.frames(len(samples))
        loud = np.abs(samples[: frames * FRAMING.hop]).reshape(frames, FRAMING.hop).max(axis=1) > 0.1
        tokens = np.where(loud, 2, 0)
        tokens[2:][loud[:-2] & ~loud[1:-1] & ~loud[2:]] = 1
        emissions = np.full((frames, 3), -5.0, dtype=np.float32)
        emissions[np.arange(frames), tokens] = -0.02
        return emissions


def bursts(starts_s: Sequence[float], duration_s: float, burst_s: float = 0.3) -> NDArray[np.float32]:
    samples = np.zeros(int(duration_s * RATE_HZ), dtype=np.float32)
    tone = 0.5 * np.sin(np.arange(int(burst_s * RATE_HZ))).astype(np.float32)
    for start_s in starts_s:
        start = int(start_s * RATE_HZ)
        samples[start : start + len(tone)] = tone
    return samples


def wav(samples: NDArray[np.float32]) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return file


@contextmanager
def transcribing(engine: LoudnessEngine, limits: AudioLimits = LIMITS) -> Iterator[Transcriber]:
    transcriber = Transcriber(all_lanes(engine), Scheduler(workers=2), limits)
    try:
        yield transcriber
    finally:
        transcriber.close()


def transcribe(
    samples: NDArray[np.float32],
    engine: LoudnessEngine,
    limits: AudioLimits = LIMITS,
    options: Options = Options(),
    reservation: Reservation | None = None,
) -> Transcript:
    with transcribing(engine, limits) as transcriber:
        return asyncio.run(transcriber.transcribe(wav(samples), reservation, options))


def test_words_and_their_times() -> None:
    transcript = transcribe(bursts([0.5, 2.0], 3.0), LoudnessEngine())
    assert transcript.text == "a a"
    assert [word.start_s for word in transcript.words] == pytest.approx([0.5, 2.0], abs=0.021)
    assert [word.end_s for word in transcript.words] == pytest.approx([0.8, 2.3], abs=0.041)
    assert transcript.duration_s == 3.0
    assert transcript.confidence == pytest.approx(0.98, abs=0.01)


def test_timings_add_up() -> None:
    timings = transcribe(bursts([0.5], 30.0), LoudnessEngine()).timings
    assert min(timings.decode_s, timings.inference_s) > 0
    assert timings.decode_s + timings.queue_s + timings.inference_s <= timings.total_s


def test_a_long_file_gives_every_word_once_and_in_its_place() -> None:
    """Twenty minutes with words at odd places, so that many lie on the seams of windows."""
    starts_s = [0.4 + 0.77 * index for index in range(1550)]
    engine = LoudnessEngine()
    transcript = transcribe(bursts(starts_s, 1200.0), engine)
    assert [word.start_s for word in transcript.words] == pytest.approx(starts_s, abs=0.021)
    assert engine.longest <= 10.0 * RATE_HZ


def test_segments_come_as_soon_as_they_are_final() -> None:
    """Before the windows after them are computed."""
    gate = threading.Event()

    class Gated(LoudnessEngine):
        def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
            if self.longest:
                assert gate.wait(PATIENCE_S)
            return super().emissions(clips)

    async def main(transcriber: Transcriber) -> Transcript:
        stream = transcriber.stream(wav(bursts(starts_s, 40.0)))
        segments = stream.segments()
        first = await anext(segments)
        assert first.words[0].start_s == pytest.approx(starts_s[0], abs=0.021)
        gate.set()
        rest = [segment async for segment in segments]
        return Transcript((first, *rest), stream.duration_s, stream.timings)

    starts_s = [0.5 + index for index in range(39)]
    with transcribing(Gated()) as transcriber:
        streamed = asyncio.run(main(transcriber))
    whole = transcribe(bursts(starts_s, 40.0), LoudnessEngine())
    assert (streamed.segments, streamed.duration_s) == (whole.segments, 40.0)
    assert len(streamed.words) == 39
    assert streamed.timings.total_s > 0


@pytest.mark.parametrize("samples", [1, 100, 399, 400])
def test_clips_too_short_to_say_anything(samples: int) -> None:
    transcript = transcribe(np.zeros(samples, dtype=np.float32), LoudnessEngine())
    assert (transcript.text, transcript.confidence) == ("", None)


def test_limits_reach_the_decoder() -> None:
    with pytest.raises(AudioTooLong):
        transcribe(bursts([], 3.0), LoudnessEngine(), AudioLimits(2.0, 1 << 30, 8))


def test_the_file_is_closed_as_soon_as_it_is_read() -> None:
    """An upload may be large, and the queue behind it long."""
    file = wav(bursts([0.5], 2.0))
    closed: list[bool] = []

    class Watching(LoudnessEngine):
        def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
            closed.append(file.closed)
            return super().emissions(clips)

    with transcribing(Watching()) as transcriber:
        assert asyncio.run(transcriber.transcribe(file)).text == "a"
    assert closed == [True]


def test_closed_it_says_so_to_those_who_wait_and_those_who_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.transcriber.DECODERS", 1)
    reading, gate = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reading.set()
            gate.wait(PATIENCE_S)
            return super().read(size)

    async def main(transcriber: Transcriber) -> None:
        first = asyncio.create_task(transcriber.transcribe(Slow(wav(bursts([0.5], 2.0)).getvalue())))
        await asyncio.to_thread(reading.wait, PATIENCE_S)
        second = asyncio.create_task(transcriber.transcribe(wav(bursts([0.5], 2.0))))
        await asyncio.sleep(0)
        transcriber.close()
        gate.set()
        for task in (first, second, transcriber.transcribe(wav(bursts([0.5], 2.0)))):
            with pytest.raises(NotReady):
                await task

    with transcribing(LoudnessEngine()) as transcriber:
        asyncio.run(main(transcriber))


APART = Options(channels="separate")
TALK = ([0.5 + 1.7 * index for index in range(60)], [0.6 + 2.3 * index for index in range(45)])
"""Starts of the words of two speakers, who often speak at once, in seconds."""


def two_speakers(duration_s: float = 110.0) -> NDArray[np.float32]:
    return np.stack([bursts(starts_s, duration_s) for starts_s in TALK], axis=1)


def test_each_channel_has_its_own_words_in_the_windows_of_a_file_of_its_own() -> None:
    together = transcribe(two_speakers(), LoudnessEngine(), options=APART)
    for channel, speaker in enumerate("AB"):
        alone = transcribe(two_speakers()[:, channel], LoudnessEngine())
        words = [word for word in together.words if word.channel == channel]
        assert {word.speaker for word in words} == {speaker}
        assert [(word.start_s, word.end_s) for word in words] == [(word.start_s, word.end_s) for word in alone.words]
    starts_s = [segment.start_s for segment in together.segments]
    assert starts_s == sorted(starts_s)
    assert together.duration_s == 110.0


def test_channels_are_computed_in_step_and_their_segments_come_early() -> None:
    """While the later half of the windows of either channel waits, the first minute of both is there."""
    gate, lock, calls = threading.Event(), threading.Lock(), list[int]()

    class Gated(LoudnessEngine):
        def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
            with lock:
                calls.append(len(clips))
                wait = len(calls) > 14
            if wait:
                assert gate.wait(PATIENCE_S)
            return super().emissions(clips)

    async def main(transcriber: Transcriber) -> list[tuple[float, str | None]]:
        segments = transcriber.stream(wav(two_speakers()), options=APART).segments()
        found = []
        async for segment in segments:
            found.append((segment.start_s, segment.speaker))
            if segment.start_s > 40:
                gate.set()
        return found

    with transcribing(Gated()) as transcriber:
        found = asyncio.run(main(transcriber))
    assert found == sorted(found)
    assert {speaker for start_s, speaker in found if start_s < 40} == {"A", "B"}


def test_a_silent_channel_is_not_computed() -> None:
    engine = LoudnessEngine()
    samples = two_speakers()
    samples[:, 1] = 1e-4 * np.random.default_rng(0).standard_normal(len(samples))
    together = transcribe(samples, engine, options=APART)
    assert {word.speaker for word in together.words} == {"A"}
    assert engine.computed_s < 1.3 * 110


def test_equal_channels_are_computed_once_and_have_no_speaker() -> None:
    engine = LoudnessEngine()
    transcript = transcribe(np.repeat(bursts(TALK[0], 110.0)[:, np.newaxis], 2, axis=1), engine, options=APART)
    assert not transcript.has_speakers
    assert len(transcript.words) == len(TALK[0])
    assert engine.computed_s < 1.3 * 110


@pytest.mark.parametrize(("mode", "charged_s"), [("mix", 110), ("auto", 220), ("separate", 220)])
def test_both_channels_count_in_the_queue(mode: ChannelMode, charged_s: float) -> None:
    waits_for: list[float] = []

    def wait_s(duration_s: float) -> float:
        waits_for.append(duration_s)
        return 0.0

    admission = Admission(1000.0, lambda: 10.0, 1, speed=lambda: 1.0, wait_s=wait_s)
    with admission.reserve() as other, admission.reserve() as reservation:
        other.charge(1.0)
        transcribe(two_speakers(), LoudnessEngine(), options=Options(channels=mode), reservation=reservation)
        assert reservation.charged_s == pytest.approx(charged_s)
    assert waits_for[-1] == pytest.approx(charged_s)
