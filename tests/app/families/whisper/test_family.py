from pathlib import Path

from app.families.whisper.graphs import DECODER, ENCODER
from app.models import open_model
from app.runtimes.registry import BACKENDS, ONNX_INT8
from tests.whisper_checkpoints import whisper_artifact


def test_recognizers_share_the_sessions(checkpoints: Path) -> None:
    """Else the weights would be in memory twice."""
    model = open_model(whisper_artifact(checkpoints))
    narrow, wide = BACKENDS[ONNX_INT8].load(model.artifact, model.family, [1, 2])
    for graph in (ENCODER, DECODER):
        assert narrow[graph] is wide[graph]
