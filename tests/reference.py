"""What transformers computes, and how near every engine has to come to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
import torch
from onnx import ModelProto
from transformers import AutoModelForCTC, Wav2Vec2FeatureExtractor

from app.families.ctc.decoding import Emissions
from app.recognizer import Samples
from tests.checkpoints import RATE_HZ

SAME = {"pytorch": 1e-5, "onnx": 1e-4, "onnx_int8": 5.0, "openvino": 3.0}
"""Largest difference of log-probabilities from transformers' own model, whose logits are spread over about 10."""
AGREEMENT = {"pytorch": 1.0, "onnx": 1.0, "onnx_int8": 0.88, "openvino": 0.92}
"""Least share of frames in which the most likely token is the same; with random weights tokens are near ties,
and weights of seven bits are rounded twice as far as those of eight (0.904 seen of the least of three checkpoints)."""


def reference(folder: Path, clips: Sequence[Samples]) -> list[Emissions]:
    """Log-probabilities of each clip, shape (frames, vocabulary), by transformers' feature extractor and its model."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    values = [extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_values for samples in clips]
    with torch.inference_mode():
        return [model(value).logits[0].log_softmax(dim=-1).numpy() for value in values]


def session_on_one_thread(model: Path | ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on a graph, as scripts use it, but for its pool of threads: test processes share the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = model if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def integer_products(operators: Mapping[str, int]) -> int:
    """How many products an ONNX file computes in integers; those by row are an operator of ONNX Runtime's own."""
    return operators["MatMulInteger"] + operators.get("MatMulIntegerToFloat", 0)
