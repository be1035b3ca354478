"""The straight line: encoded sound -> transcript. No HTTP here; the scripts use it too."""

import asyncio
import time
from typing import BinaryIO, Self

from app.artifacts import Artifact
from app.asr import Engine
from app.audio import AudioLimits, decode
from app.decoding import confidence_of, decode_ctc
from app.scheduler import Scheduler
from app.settings import Settings
from app.transcript import Timings, Transcript
from app.windows import cut, stitch


class Transcriber:
    """Transcribes files with one model, several at a time; `close()` ends its threads."""

    def __init__(
        self, artifact: Artifact, scheduler: Scheduler, limits: AudioLimits, window_s: float, overlap_s: float
    ) -> None:
        self._artifact = artifact
        self._scheduler = scheduler
        self._limits = limits
        rate_hz = artifact.features.sample_rate_hz
        self._window_frames = artifact.framing.frames(int(window_s * rate_hz))
        self._overlap_frames = artifact.framing.frames(int(overlap_s * rate_hz))

    @classmethod
    def from_settings(cls, artifact: Artifact, engine: Engine, settings: Settings) -> Self:
        """With windows, workers and limits as they are set."""
        scheduler = Scheduler(engine, settings.workers, settings.max_queue_s)
        return cls(artifact, scheduler, settings.audio_limits, settings.window_s, settings.overlap_s)

    def close(self) -> None:
        """Finish the windows that run, drop those that wait, and end the threads."""
        self._scheduler.close()

    async def transcribe(self, file: BinaryIO) -> Transcript:
        """Transcribe a seekable binary file in any format that `app.audio` reads; the file is not closed.

        Raises the errors of `app.audio.decode` and `app.scheduler.Scheduler.run`.
        """
        artifact = self._artifact
        started = time.perf_counter()
        waveform = await asyncio.to_thread(decode, file, artifact.features.sample_rate_hz, self._limits)
        decoded = time.perf_counter()
        windows = cut(waveform.samples, artifact.framing, self._window_frames, self._overlap_frames)
        computed = await self._scheduler.run(windows, waveform.duration_s)
        emissions = stitch(windows, computed.emissions, artifact.vocabulary.blank)
        words = await asyncio.to_thread(decode_ctc, emissions, artifact.vocabulary, artifact.frame_s)
        return Transcript(
            words=words,
            duration_s=waveform.duration_s,
            confidence=confidence_of(words),
            timings=Timings(
                decode_s=decoded - started,
                queue_s=computed.queue_s,
                inference_s=computed.inference_s,
                total_s=time.perf_counter() - started,
            ),
        )
