from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.artifacts import Artifact, open_artifact, read_manifest
from app.evidence import MAX_DIFFERENCE
from app.families.ctc.decoding import Emissions
from app.models import check_evidence
from app.recognizer import Samples
from scripts.common import SAMPLES
from scripts.exporting.evidence_clips import CLIP_S, collect_evidence
from tests.checkpoints import served
from tests.fakes import FakeCtc
from tests.recognizers import ctc_recognizer, ctc_settings


@pytest.fixture(scope="module")
def artifact(checkpoints: Path) -> Artifact:
    return open_artifact(served("cahya_like", checkpoints))


def test_every_proven_backend_has_a_hypothesis_for_every_clip(artifact: Artifact) -> None:
    evidence = artifact.manifest["evidence"]
    assert evidence["limit"] == MAX_DIFFERENCE
    assert len(evidence["clips"]) == len(list(SAMPLES.glob("*.wav")))
    for name, hypotheses in evidence["clips"].items():
        assert {"onnx", "onnx_int8"} <= hypotheses.keys()
        assert "pytorch" not in hypotheses
        assert name in artifact.files, "the manifest has its hash, so that a change is found"
        info = soundfile.info(artifact.folder / name)
        assert 0 < info.duration <= CLIP_S
        assert info.channels == 1
        frames = ctc_settings(artifact.folder).framing.frames(info.frames)
        assert all(
            len(hypothesis["tokens"]) == len(hypothesis["log_probabilities"]) == frames
            for hypothesis in hypotheses.values()
        )


@pytest.mark.parametrize("backend", ["onnx", "onnx_int8"])
def test_the_engine_that_was_proven_passes(artifact: Artifact, backend: str) -> None:
    check_evidence(ctc_recognizer(artifact.folder, backend), artifact, backend)


def test_clips_of_an_export_before_are_replaced(artifact: Artifact, tmp_path: Path) -> None:
    class Unsure(FakeCtc):
        def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
            shape = self.settings.framing.frames(len(clips[0])), len(self.settings.vocabulary.tokens)
            return [np.full(shape, -np.log(shape[1]), dtype=np.float32)]

    (tmp_path / "evidence_99.flac").touch()
    unsure = Unsure(ctc_settings(artifact.folder))
    evidence = collect_evidence(Artifact(tmp_path, "", {}), {"pytorch": unsure, "onnx": unsure})
    assert {path.name for path in tmp_path.iterdir()} == evidence["clips"].keys()
    assert all(hypotheses.keys() == {"onnx"} for hypotheses in evidence["clips"].values())


def test_the_manifest_is_readable(artifact: Artifact) -> None:
    lines = (artifact.folder / "manifest.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 1000
    assert read_manifest(artifact.folder) == artifact.manifest
