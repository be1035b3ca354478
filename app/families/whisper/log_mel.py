"""Log-mel spectrograms, as Whisper takes them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.recognizer import Samples

Features = NDArray[np.float32]
"""Shape (mel bins, frames), float32."""

MIN_POWER = 1e-10
"""Lower limit of the power of a mel bin, that of digital silence."""
DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest bin of a window; quieter bins are raised to this limit."""
OFFSET, SCALE = 4.0, 4.0
"""The models take (log10(power) + OFFSET) / SCALE (openai/whisper, audio.py)."""
BLOCK_FRAMES = 256
"""Frames that are transformed at once. Their buffers fit the cache of a core and are reused: with new ones for each
block, 30 s of audio take 11 ms instead of 7 on one core.
"""
HZ_PER_MEL, LOGARITHMIC_FROM_HZ, LOGARITHMIC_STEP = 200.0 / 3, 1000.0, np.log(6.4) / 27
"""Slaney's mel scale (Auditory Toolbox, 1998): linear up to 1 kHz, 27 mels for each factor of 6.4 above."""


@dataclass(frozen=True)
class LogMel:
    """Computes log-mel spectrograms, equal to those of transformers' `WhisperFeatureExtractor` within 1e-4.

    bins: mel bins. window: samples of a frame. hop: samples from one frame to the next.
    """

    bins: int
    rate_hz: int
    window: int
    hop: int
    _taper: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    _filters: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        periodic_hann = np.hanning(self.window + 1)[:-1]
        object.__setattr__(self, "_taper", periodic_hann.astype(np.float32))
        object.__setattr__(self, "_filters", mel_filters(self.bins, self.window, self.rate_hz))

    def __call__(self, samples: Samples, frames: int) -> Features:
        """Log-mel spectrogram of the first `frames` frames of a clip, which is padded with silence if it is shorter.

        samples: shape (samples,), float32. Returns shape (bins, frames), float32. Frames are centred on multiples of
        `hop`; the padded clip is reflected at both ends. As the loudest bin limits the quietest, a longer window is not
        a shorter one continued.
        """
        half = self.window // 2
        length = frames * self.hop
        samples = samples[:length]
        padded = np.pad(np.pad(samples, (0, length - len(samples))), half, mode="reflect")
        framed = sliding_window_view(padded, self.window)[:: self.hop]
        audible = min(frames, -(-(len(samples) + half) // self.hop))  # the frames after these are digital silence
        power = np.full((self.bins, frames), MIN_POWER, dtype=np.float32)
        tapered = np.empty((BLOCK_FRAMES, self.window), dtype=np.float32)
        spectra = np.empty((BLOCK_FRAMES, half + 1), dtype=np.complex64)
        for start in range(0, audible, BLOCK_FRAMES):
            block = framed[start : min(start + BLOCK_FRAMES, audible)]
            count = len(block)
            np.multiply(block, self._taper, out=tapered[:count])
            spectrum = np.fft.rfft(tapered[:count], out=spectra[:count])  # type: ignore[arg-type]  # knows doubles only
            power[:, start : start + count] = self._filters @ (spectrum.real**2 + spectrum.imag**2).T
        features = np.log10(np.maximum(power, MIN_POWER, out=power), out=power)
        np.maximum(features, features.max() - DYNAMIC_RANGE, out=features)
        features += OFFSET
        features /= SCALE
        return features


def mel_filters(bins: int, window: int, rate_hz: int) -> NDArray[np.float32]:
    """Triangular filters of equal area, evenly spaced in mels from 0 Hz to half of the sample rate.

    window: samples of a frame. Returns shape (bins, window // 2 + 1), float32: the weight of each frequency in each
    bin. Equal to librosa's `filters.mel` with its defaults, from which openai/whisper took them.
    """
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(rate_hz / 2), bins + 2))
    frequencies = np.linspace(0.0, rate_hz / 2, window // 2 + 1)
    rising = (frequencies - edges[:-2, np.newaxis]) / np.diff(edges)[:-1, np.newaxis]
    falling = (edges[2:, np.newaxis] - frequencies) / np.diff(edges)[1:, np.newaxis]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, np.newaxis], dtype=np.float32)


def hz_to_mel(hz: float) -> float:
    """Convert a frequency of 1 kHz or more to Slaney's mel scale."""
    return float(LOGARITHMIC_FROM_HZ / HZ_PER_MEL + np.log(hz / LOGARITHMIC_FROM_HZ) / LOGARITHMIC_STEP)


def mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert mels of Slaney's scale to Hz, elementwise."""
    above = mel - LOGARITHMIC_FROM_HZ / HZ_PER_MEL
    return np.where(above < 0, mel * HZ_PER_MEL, LOGARITHMIC_FROM_HZ * np.exp(above * LOGARITHMIC_STEP))
