"""OpenVINO: an INT8 file made for it, or the ONNX file in float32.

What the INT8 file leaves in float is computed in bfloat16 where the CPU can, but for the nodes that it marks: a
variance in bfloat16 ruins the model (measured: WER 7 points up), and in the ONNX file nothing is marked.

Imported only when this backend is chosen; needs `requirements-openvino.txt`.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from app.cores import available_cores
from app.engines.ctc import LENGTHS_INPUT, check_frames
from app.windows import Framing

CORE = openvino.Core()
"""The process's only one, never destroyed before its end. Its CPU plugin gives the thread that loads it an alternate
signal stack, and unmaps that when a Core is destroyed in any thread: the next signal (SIGTERM, SIGCHLD) would then kill
the process with SIGSEGV."""
LEAST_STEP, MOST_STEP = 8, 32
"""Clips are padded to a multiple of so many frames (0.16 to 0.64 s in most models), the more the longer they are."""


class OpenVinoRuntime:
    """A compiled model, to be called from several threads at once. Raises RuntimeError if the file is no model.

    `threads` compute one call, and as many calls are computed at a time as the cores then allow (OpenVINO's streams);
    more wait for their turn. OpenVINO generates code for every length of clip that it meets, which costs half as much
    as computing the clip, and keeps it. So clips are padded to few lengths, if the model can be told how long they are;
    if it cannot, the code is thrown away, or memory would grow with every clip.
    """

    ragged = False
    """In bfloat16 and INT8 the rounding of a clip would depend on the clip it is padded to. Nothing is lost: the cores
    are filled by calls side by side."""

    def __init__(self, path: Path, framing: Framing, threads: int) -> None:
        model = CORE.read_model(path)
        self._framing = framing
        self._has_lengths = LENGTHS_INPUT in {name for value in model.inputs for name in value.get_names()}
        streams = max(1, available_cores() // threads)
        options: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads,
            "INFERENCE_PRECISION_HINT": "bf16" if path.suffix == ".xml" and computes_in_bfloat16() else "f32",
            # Pinned threads of two processes would share the cores that both find first.
            "ENABLE_CPU_PINNING": False,
        }
        if not self._has_lengths:
            options["CPU_RUNTIME_CACHE_CAPACITY"] = 0
        self._model = CORE.compile_model(model, "CPU", options)
        self._of_thread = threading.local()

    def __call__(self, input_values: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(batch, samples) float32 and (batch,) int64 -> logits (batch, frames, vocabulary) float32.

        Raises ValueError if a padded clip has more or fewer frames than its settings say, which nobody could see once
        those of the padding are cut off.
        """
        request = self._request()
        if not self._has_lengths:
            request.infer({"input_values": input_values})
            return np.array(request.get_output_tensor().data, dtype=np.float32)
        samples = input_values.shape[1]
        padded = padded_length(samples, self._framing)
        request.infer({"input_values": np.pad(input_values, ((0, 0), (0, padded - samples))), LENGTHS_INPUT: lengths})
        logits = request.get_output_tensor().data
        check_frames(logits, padded, self._framing)
        return np.array(logits[:, : self._framing.frames(samples)], dtype=np.float32)

    def _request(self) -> openvino.InferRequest:
        """This thread's own: no two calls share its buffers, and making new ones would cost each a fifth more time."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._model.create_infer_request()
        request: openvino.InferRequest = self._of_thread.request
        return request


def computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AVX-512 BF16 or AMX)."""
    return "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def frames_step(frames: int) -> int:
    """What so many frames are padded to a multiple of: a power of two, at most a sixteenth of longer clips.

    So that there are some sixty lengths up to 20 s, each of which costs memory, and short clips are padded little.
    """
    return min(max(LEAST_STEP, 1 << (frames - 1).bit_length() >> 5), MOST_STEP)


def padded_length(samples: int, framing: Framing) -> int:
    """The least number of samples, at least as many, whose frames are a multiple of their step, with none left."""
    first = framing.receptive_field - framing.hop
    frames = max(1, -(-(samples - first) // framing.hop))
    step = frames_step(frames)
    return first + -(-frames // step) * step * framing.hop
