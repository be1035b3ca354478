"""Encoded bytes -> `Waveform`: mono float32 at the model's rate. Every limit on sound is enforced here.

    file -> format -> libsndfile or FFmpeg -> checks and limits -> mono -> the model's rate

The sound is decoded, checked, mixed and resampled block by block: a small file that would decode to hours is refused
as soon as it passes a limit, and nothing but the result grows with the length.
"""

from app.audio.blocks import Samples
from app.audio.decoder import Waveform, decode
from app.audio.formats import sniff
from app.audio.limits import AudioLimits

__all__ = ["AudioLimits", "Samples", "Waveform", "decode", "sniff"]
