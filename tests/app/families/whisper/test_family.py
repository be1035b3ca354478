from pathlib import Path

import pytest

from app.families.whisper import SEQUENTIAL_BYTES, WhisperFamily
from app.families.whisper.graphs import DECODER, ENCODER
from app.models import open_model
from app.runtimes.registry import BACKENDS, ONNX_INT8
from tests.whisper_checkpoints import whisper_artifact


def test_lanes_share_a_small_decoder(checkpoints: Path) -> None:
    """Its steps are no faster on several threads, and its weights would be in memory twice."""
    model = open_model(whisper_artifact(checkpoints))
    narrow, wide = BACKENDS[ONNX_INT8].load(model.artifact, model.family, [1, 2])
    assert narrow[DECODER] is wide[DECODER]
    assert narrow[ENCODER] is not wide[ENCODER]
    (only,) = BACKENDS[ONNX_INT8].load(model.artifact, model.family, [2])
    assert only.keys() == {ENCODER, DECODER}


@pytest.mark.parametrize(
    ("graph", "size_bytes", "shared"),
    [(DECODER, SEQUENTIAL_BYTES, True), (DECODER, SEQUENTIAL_BYTES + 1, False), (ENCODER, 1, False)],
)
def test_large_decoders_have_threads(graph: str, size_bytes: int, shared: bool, checkpoints: Path) -> None:
    family = open_model(whisper_artifact(checkpoints)).family
    assert isinstance(family, WhisperFamily)
    assert family.is_sequential(graph, size_bytes) is shared
