"""What transformers computes, and how near every engine has to come to it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCTC, Wav2Vec2FeatureExtractor

from app.decoding import Emissions
from app.windows import Samples
from scripts.matrix_form import has_matrix_form
from tests.checkpoints import RATE_HZ

SAME = {"pytorch": 1e-5, "onnx": 1e-4, "onnx_int8": 1.5}
"""Largest difference of log-probabilities from transformers' own model, whose logits are spread over about 10."""
AGREEMENT = {"pytorch": 1.0, "onnx": 1.0, "onnx_int8": 0.95}
"""Least share of frames in which the most likely token is the same."""

FRONT_END_SAME, FRONT_END_AGREEMENT = 2.5, 0.9
"""The same for INT8 of models whose front end is in INT8 too: in seven products more there is more rounding."""
QUIET_SAME, QUIET_AGREEMENT = 15.0, 0.8
"""If that front end has no norm but the first. What is quiet beside what is
loud gets few of the 256 steps: in the quietest quarter of `babbling` the error is four times that in the loudest. Plain
fake quantization of these random models errs as much (a tenth of the logits' deviation), so this is no bug."""


def limits_of(backend: str, folder: Path) -> tuple[float, float]:
    """Largest difference and least agreement of a backend of the artifact or checkpoint in a folder."""
    config = AutoConfig.from_pretrained(folder)
    if backend == "onnx_int8" and has_matrix_form(config):
        quiet = config.feat_extract_norm == "group"
        return (QUIET_SAME, QUIET_AGREEMENT) if quiet else (FRONT_END_SAME, FRONT_END_AGREEMENT)
    return SAME[backend], AGREEMENT[backend]


def reference(folder: Path, clips: Sequence[Samples]) -> list[Emissions]:
    """Log-probabilities of each clip, shape (frames, vocabulary), by transformers' feature extractor and its model."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32).eval()
    values = [extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt").input_values for samples in clips]
    with torch.inference_mode():
        return [model(value).logits[0].log_softmax(dim=-1).numpy() for value in values]
