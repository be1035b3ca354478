"""Finds channels in which nobody speaks, so that the hiss of an open line is not computed."""

from functools import cache

import numpy as np

from app.audio import Samples
from app.silero import CHUNK_SAMPLES, RATE_HZ
from app.voice_activity import VoiceDetector, speech_spans

QUIET_POWER = 1e-5
"""-50 dB of full scale. A channel whose loudest parts are quieter may have no speech."""
STEADY_RATIO = 10.0
"""10 dB. A channel whose loudest parts are louder than its quietest ones by less is steady, which speech is not."""
LOUD_PERCENTILE, QUIET_PERCENTILE = 98, 10
"""Of the powers of a channel's chunks."""


def is_speechless(samples: Samples, rate_hz: int) -> bool:
    """Whether a channel, shape (samples,), float32, is quiet or steady, and has no speech.

    Only the former are searched for speech, since that takes a tenth of the time of recognition. False at rates that
    the voice detector does not know.
    """
    if rate_hz != RATE_HZ or len(samples) < CHUNK_SAMPLES:
        return False
    chunks = samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    powers = np.einsum("ij,ij->i", chunks, chunks) / CHUNK_SAMPLES
    quiet, loud = np.percentile(powers, [QUIET_PERCENTILE, LOUD_PERCENTILE])
    if loud > max(QUIET_POWER, STEADY_RATIO * quiet):
        return False
    return not speech_spans(voice_detector().probabilities(samples), len(samples))


@cache
def voice_detector() -> VoiceDetector:
    """Loaded when it is first needed."""
    return VoiceDetector()
