"""The samples of one channel -> utterances: stretches of speech between pauses.

No sample belongs to two utterances, so no word is found twice.
"""

from dataclasses import dataclass

import numpy as np

from app.live.events import Reason
from app.live.voice import Voice
from app.recognizer import Samples
from app.silero import CHUNK_SAMPLES, RATE_HZ
from app.voice_activity import VoiceSettings

VOICE = VoiceSettings()
CONFIRMING_CHUNKS = VOICE.min_speech_ms * RATE_HZ // 1000 // CHUNK_SAMPLES
"""Chunks with speech before an utterance is one."""
FORGIVEN_CHUNKS = -(-VOICE.min_silence_ms * RATE_HZ // 1000 // CHUNK_SAMPLES)
"""Chunks without speech after which speech that was too short is forgotten."""
BEFORE = VOICE.padding_before_ms * RATE_HZ // 1000
AFTER = VOICE.padding_after_ms * RATE_HZ // 1000
"""Samples before and after the speech that belong to the utterance."""
EDGE_CHUNKS = 16
"""A cut of an utterance that got too long leaves at least half a second on either side."""


@dataclass(frozen=True)
class Started:
    """Speech began at this sample."""

    start: int


@dataclass(frozen=True, eq=False)
class Utterance:
    """A finished utterance.

    samples: shape (samples,), float32. start, end: indices in the channel. voice_end: where speech was last detected;
    `end` if it goes on.
    """

    samples: Samples
    start: int
    end: int
    voice_end: int
    reason: Reason


class Cutter:
    """Cuts one channel into utterances as its samples arrive, at `app.silero.RATE_HZ`.

    longest: most samples of an utterance; a longer one is cut at its deepest pause. endpointing_s: pause that ends an
    utterance; None for none. It may be changed at any time.
    """

    def __init__(self, longest: int, endpointing_s: float | None) -> None:
        self._longest = longest
        self.endpointing_s = endpointing_s
        self._voice = Voice()
        self._audio = bytearray()  # from `_origin` on
        self._origin = 0
        self._end = 0
        self._chunk = 0  # index of the next chunk
        self._onset: int | None = None  # chunk at which speech that is not yet an utterance began
        self._voiced = 0  # chunks of it with speech
        self._start: int | None = None  # sample at which the running utterance starts
        self._probabilities: list[float] = []  # of the chunks since `_first`
        self._first = 0
        self._pause: int | None = None  # chunk at which speech stopped

    @property
    def position(self) -> int:
        """Number of samples so far."""
        return self._end

    @property
    def start(self) -> int | None:
        """Where the running utterance starts; None if nobody is speaking."""
        return self._start

    def running(self, start: int) -> Samples:
        """The samples from `start` on, up to here, of the running utterance: shape (samples,), float32."""
        return self._cut(start, self._end)

    def add(self, samples: Samples) -> list[Started | Utterance]:
        """Take the next samples, shape (samples,), float32. Returns what began and what ended, in order."""
        found: list[Started | Utterance] = []
        self._audio += samples.astype(np.float32, copy=False).tobytes()
        self._end += len(samples)
        for probability in self._voice.add(samples).tolist():
            found += self._step(probability)
            self._chunk += 1
        self._forget()
        return found

    def finish(self, reason: Reason) -> Utterance | None:
        """End the running utterance, or speech that may become one, at the last sample; None if there is neither."""
        if self._start is None and self._onset is not None:
            self._begin(self._onset)
        return None if self._start is None else self._take(self._start, self._end, reason)

    def clear(self) -> None:
        """Forget the running utterance."""
        self._start = self._onset = self._pause = None
        self._audio.clear()
        self._origin = self._end

    def _step(self, probability: float) -> list[Started | Utterance]:
        start = self._start
        if start is None:
            return self._step_in_silence(probability)
        self._probabilities.append(probability)
        if probability >= VOICE.threshold:
            self._pause = None
        elif probability < VOICE.threshold - VOICE.hysteresis and self._pause is None:
            self._pause = self._chunk
        end = (self._chunk + 1) * CHUNK_SAMPLES
        if self._pause is not None and self.endpointing_s is not None:
            speech_end = self._pause * CHUNK_SAMPLES
            if end - speech_end >= self.endpointing_s * RATE_HZ:
                return [self._take(start, min(end, max(speech_end + AFTER, start)), "endpoint")]
        if end - start >= self._longest:
            return [self._take(start, self._deepest_pause(start), "max_length")]
        return []

    def _step_in_silence(self, probability: float) -> list[Started | Utterance]:
        if probability >= VOICE.threshold:
            if self._onset is None:
                self._onset, self._voiced = self._chunk, 0
            self._voiced += 1
            self._pause = None
        elif self._onset is not None and probability < VOICE.threshold - VOICE.hysteresis:
            self._pause = self._chunk if self._pause is None else self._pause
            if self._chunk + 1 - self._pause >= FORGIVEN_CHUNKS:
                self._onset = self._pause = None
        if self._onset is None or self._voiced < CONFIRMING_CHUNKS:
            return []
        return [self._begin(self._onset)]

    def _begin(self, onset: int) -> Started:
        self._onset = None
        self._start = max(self._origin, onset * CHUNK_SAMPLES - BEFORE)
        self._first = self._chunk + 1
        self._probabilities = []
        return Started(max(self._start, onset * CHUNK_SAMPLES))

    def _take(self, start: int, end: int, reason: Reason) -> Utterance:
        """The running utterance up to a sample. What follows starts a new one only if it goes on (`max_length`)."""
        samples = self._cut(start, end)
        voice_end = end if self._pause is None else min(end, self._pause * CHUNK_SAMPLES)
        if reason == "max_length":
            self._start = end
            kept = max(0, end // CHUNK_SAMPLES - self._first)
            self._probabilities, self._first = self._probabilities[kept:], self._first + kept
        else:
            self._start = self._pause = None
        self._drop(end)
        return Utterance(samples, start, end, max(start, voice_end), reason)

    def _deepest_pause(self, start: int) -> int:
        """The sample in the second half of the utterance that starts there at which speech is least likely."""
        smooth = np.convolve(self._probabilities, np.ones(3) / 3, "same")
        low = max(0, (start + self._longest // 2) // CHUNK_SAMPLES - self._first)
        high = max(low + 1, len(smooth) - EDGE_CHUNKS)
        best = low + int(np.argmin(smooth[low:high]))
        return (self._first + best) * CHUNK_SAMPLES + CHUNK_SAMPLES // 2

    def _forget(self) -> None:
        """Drop what can belong to no utterance any more."""
        if self._start is None:
            first = self._chunk if self._onset is None else self._onset
            self._drop(first * CHUNK_SAMPLES - BEFORE)

    def _drop(self, before: int) -> None:
        count = min(before, self._end) - self._origin
        if count > 0:
            del self._audio[: count * 4]
            self._origin += count

    def _cut(self, start: int, end: int) -> Samples:
        part = self._audio[max(0, start - self._origin) * 4 : (end - self._origin) * 4]
        return np.frombuffer(bytes(part), dtype=np.float32)
