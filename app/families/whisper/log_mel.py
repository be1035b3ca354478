"""Log-mel spectrograms, as Whisper takes them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.recognizer import Samples

Features = NDArray[np.float32]
"""Shape (mel bins, frames), float32."""

FLOOR = 1e-10
"""The least power; that of digital silence."""
DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest bin of a window; what is quieter counts as this quiet."""
OFFSET, SCALE = 4.0, 4.0
"""(log10 + OFFSET) / SCALE is what the models were trained on."""
LINEAR_HZ_PER_MEL, LOGARITHMIC_FROM_HZ, LOGARITHMIC_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27
"""Slaney's mel scale (Auditory Toolbox, 1998): linear up to 1 kHz, 27 mels for each factor of 6.4 above."""


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrograms with transformers' `WhisperFeatureExtractor` as the reference, within 1e-4.

    bins: mel bins. rate_hz: sample rate. window: samples of a frame. hop: samples from one frame to the next.
    """

    bins: int
    rate_hz: int = 16_000
    window: int = 400
    hop: int = 160
    _taper: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _filters: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        periodic = np.hanning(self.window + 1)[:-1]
        object.__setattr__(self, "_taper", periodic.astype(np.float32))
        object.__setattr__(self, "_filters", mel_filters(self.bins, self.window, self.rate_hz))

    def __call__(self, samples: Samples, frames: int) -> Features:
        """The first `frames` frames of a clip, shape (samples,), float32, that silence follows.

        Frames are centred on multiples of `hop`; the clip is mirrored at its start, and at its end if it fills the
        frames.
        """
        half = self.window // 2
        samples = samples[: frames * self.hop]
        after = frames * self.hop - len(samples)
        audible = frames if after < half else min(frames, -(-(len(samples) + half) // self.hop))
        padded = np.pad(np.pad(samples, (0, max(after, half))), (half, 0), mode="reflect")
        if after < half:
            padded = np.pad(np.pad(samples, (0, after)), half, mode="reflect")
        pieces = sliding_window_view(padded, self.window)[:: self.hop][:audible]
        spectrum = np.fft.rfft(pieces * self._taper)
        power = spectrum.real**2 + spectrum.imag**2
        features = np.full((self.bins, frames), np.log10(FLOOR), dtype=np.float32)
        features[:, :audible] = np.log10(np.maximum(self._filters @ power.T, FLOOR))
        np.maximum(features, features.max() - DYNAMIC_RANGE, out=features)
        features += OFFSET
        features /= SCALE
        return features


def mel_filters(bins: int, window: int, rate_hz: int) -> NDArray[np.float32]:
    """Triangles of equal area, evenly spaced in mels from 0 Hz to half of the rate, shape (bins, window // 2 + 1).

    As librosa's `filters.mel` with its defaults, from which openai/whisper took them.
    """
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(rate_hz / 2), bins + 2))
    frequencies = np.linspace(0.0, rate_hz / 2, window // 2 + 1)
    rising = (frequencies - edges[:-2, np.newaxis]) / np.diff(edges)[:-1, np.newaxis]
    falling = (edges[2:, np.newaxis] - frequencies) / np.diff(edges)[1:, np.newaxis]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis], dtype=np.float32)


def hz_to_mel(hz: float) -> float:
    """Slaney's mel scale, for frequencies above 1 kHz."""
    return LOGARITHMIC_FROM_HZ / LINEAR_HZ_PER_MEL + float(np.log(hz / LOGARITHMIC_FROM_HZ)) / LOGARITHMIC_STEP


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of Slaney's mel scale."""
    above = mel - LOGARITHMIC_FROM_HZ / LINEAR_HZ_PER_MEL
    return np.where(above < 0, mel * LINEAR_HZ_PER_MEL, LOGARITHMIC_FROM_HZ * np.exp(above * LOGARITHMIC_STEP))
