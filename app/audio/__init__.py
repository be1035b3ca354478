"""Encoded bytes -> `Waveform`: mono float32 at the model's rate. Every limit on audio is enforced here.

    file -> format -> libsndfile or FFmpeg -> checks and limits -> mono -> the model's rate

Audio is decoded, checked, mixed and resampled block by block: a small file that would decode to hours is refused as
soon as it exceeds a limit, and only the result grows with the duration.

Channels are mixed, or kept apart where each has a speaker (`app.audio.separation`).
"""

from app.audio.blocks import Samples
from app.audio.decoder import Waveform, decode, decode_channels
from app.audio.formats import sniff
from app.audio.limits import AudioLimits

__all__ = ["AudioLimits", "Samples", "Waveform", "decode", "decode_channels", "sniff"]
