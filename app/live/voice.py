"""Voice activity while audio arrives: Silero's network, with its state kept from piece to piece."""

import math
from collections import deque
from itertools import islice

import numpy as np

from app.quiet_channels import voice_detector
from app.recognizer import Samples
from app.silero import CHUNK_SAMPLES, CONTEXT_SAMPLES
from app.voice_activity import LEVEL_CHUNKS, MAX_GAIN, TARGET_LEVEL, Probabilities

LEVEL_MEMORY_CHUNKS = 312
"""The level is that of the last 10 s."""
ATTACK_CHUNKS = LEVEL_CHUNKS
"""The level is at least that of the loudest of so many last chunks: speech after silence must not be amplified as the
silence was. Overdriven, it confuses the network for seconds."""


class Voice:
    """The speech probability of each chunk of one channel, as soon as the chunk is complete.

    As in `app.voice_activity.VoiceDetector`, quiet audio is amplified; here by the level of the last seconds.
    """

    def __init__(self) -> None:
        self._network = voice_detector().network
        self._state = self._network.first_state()
        self._pending = np.zeros(CONTEXT_SAMPLES, dtype=np.float32)
        self._powers: deque[float] = deque(maxlen=LEVEL_MEMORY_CHUNKS)

    def add(self, samples: Samples) -> Probabilities:
        """Take the next samples, shape (samples,), float32, at `app.silero.RATE_HZ`.

        Returns the probabilities of the chunks that they complete, shape (chunks,), float32.
        """
        pending = np.concatenate((self._pending, samples))
        chunks = (len(pending) - CONTEXT_SAMPLES) // CHUNK_SAMPLES
        self._pending = pending[chunks * CHUNK_SAMPLES :]
        if not chunks:
            return np.zeros(0, dtype=np.float32)
        pieces = np.lib.stride_tricks.sliding_window_view(pending, CONTEXT_SAMPLES + CHUNK_SAMPLES)[::CHUNK_SAMPLES]
        pieces = pieces[:chunks]
        new = pieces[:, CONTEXT_SAMPLES:]
        gains = [self._gain(power) for power in (np.einsum("ij,ij->i", new, new) / CHUNK_SAMPLES).tolist()]
        probabilities, self._state = self._network(
            np.array(gains, dtype=np.float32)[:, np.newaxis] * pieces, self._state
        )
        return probabilities

    def _gain(self, power: float) -> float:
        """The amplification of the next chunk, whose mean square is `power`."""
        self._powers.append(power)
        lasting = sorted(self._powers)[-min(LEVEL_CHUNKS, len(self._powers))]
        sudden = max(islice(reversed(self._powers), ATTACK_CHUNKS))
        level = math.sqrt(max(lasting, sudden))
        return min(max(TARGET_LEVEL / level, 1.0), MAX_GAIN) if level > 0 else 1.0
