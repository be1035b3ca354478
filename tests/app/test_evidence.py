import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from app.artifacts import Artifact, ArtifactError, UnprovenError
from app.cpu import this_cpu
from app.evidence import MAX_DIFFERENCE, entry_of, hypothesis_of, read_evidence
from app.families.ctc.decoding import Emissions
from app.families.ctc.recognizer import best_path, log_softmax, probability_change
from app.models import check_evidence
from app.recognizer import Samples
from tests.fakes import FakeCtc, fake_artifact
from tests.sounds import MODEL_HZ

BACKEND = "onnx_int8"
FRAMES, VOCABULARY = 40, 5


def emissions(seed: int = 0, sharpness: float = 4.0) -> Emissions:
    """Log-probabilities of random tokens, shape (frames, vocabulary)."""
    logits = np.random.default_rng(seed).normal(0, sharpness, (FRAMES, VOCABULARY))
    return log_softmax(logits.astype(np.float32))


class Says(FakeCtc):
    """Returns the same emissions for every clip, or fails."""

    def __init__(self, said: Emissions | Exception) -> None:
        super().__init__()
        self.said = said
        self.clips: list[Samples] = []

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        if isinstance(self.said, Exception):
            raise self.said
        self.clips += clips
        return [self.said for _ in clips]


def evidence(**said_by: Any) -> dict[str, Any]:
    return {"evidence": {"limit": MAX_DIFFERENCE, "clips": {"evidence_0.flac": said_by}}}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """An artifact with evidence of one clip."""
    clip = np.random.default_rng(1).normal(0, 0.1, MODEL_HZ)
    soundfile.write(tmp_path / "evidence_0.flac", clip, MODEL_HZ, subtype="PCM_16")
    manifest = evidence(**{BACKEND: entry_of(best_path(emissions()))})
    return replace(fake_artifact(tmp_path), manifest=json.loads(json.dumps(manifest)))


class TestEntry:
    def test_it_differs_from_what_it_was_made_of_by_rounding_only(self) -> None:
        expected = hypothesis_of(json.loads(json.dumps(entry_of(best_path(emissions())))))
        assert probability_change(expected, emissions()) < 1e-4

    @pytest.mark.parametrize(
        "entry",
        [
            None,
            {},
            {"tokens": [1]},
            {"tokens": [], "log_probabilities": []},
            {"tokens": ["a"], "log_probabilities": [0]},
            {"tokens": [1, 2], "log_probabilities": [0.0]},
            {"tokens": 1, "log_probabilities": 0.0},
        ],
    )
    def test_what_is_no_entry_is_an_error(self, entry: Any) -> None:
        with pytest.raises((KeyError, TypeError, ValueError)):
            hypothesis_of(entry)


class TestCheck:
    def test_an_engine_that_says_the_same_passes(self, artifact: Artifact) -> None:
        engine = Says(emissions())
        check_evidence(engine, artifact, BACKEND)
        assert [len(samples) for samples in engine.clips] == [MODEL_HZ]

    def test_small_differences_pass(self, artifact: Artifact) -> None:
        check_evidence(Says(emissions() - np.float32(0.02)), artifact, BACKEND)

    def test_another_hypothesis_is_refused_with_the_cpu(self, artifact: Artifact) -> None:
        with pytest.raises(
            UnprovenError, match=r"on this CPU .* onnx_int8 does not reproduce .* 0\.\d+ .* 0\.05 is"
        ) as refused:
            check_evidence(Says(emissions(seed=7)), artifact, BACKEND)
        assert str(this_cpu()) in str(refused.value)

    def test_with_unproven_allowed_it_is_only_noted(self, artifact: Artifact) -> None:
        artifact = replace(artifact, allow_unproven=True)
        check_evidence(Says(emissions(seed=7)), artifact, BACKEND)
        (reason,) = artifact.unproven_reasons
        assert "on this CPU" in reason

    def test_an_engine_that_fails_is_an_error(self, artifact: Artifact) -> None:
        with pytest.raises(ArtifactError, match="cannot run: out of memory"):
            check_evidence(Says(RuntimeError("out of memory")), artifact, BACKEND)

    @pytest.mark.parametrize("manifest", [{}, evidence(), evidence(onnx={})])
    def test_without_evidence_of_the_backend_nothing_is_computed(
        self, artifact: Artifact, manifest: dict[str, Any]
    ) -> None:
        check_evidence(Says(RuntimeError("not to be called")), replace(artifact, manifest=manifest), BACKEND)


class TestRead:
    def test_a_missing_or_broken_clip_is_unproven(self, artifact: Artifact) -> None:
        (artifact.folder / "evidence_0.flac").write_bytes(b"fLaC")
        with pytest.raises(UnprovenError, match="cannot be read"):
            read_evidence(artifact, BACKEND, MODEL_HZ)
        (artifact.folder / "evidence_0.flac").unlink()
        with pytest.raises(UnprovenError, match="cannot be read"):
            read_evidence(artifact, BACKEND, MODEL_HZ)

    def test_another_clip_than_the_one_described_is_unproven(self, artifact: Artifact) -> None:
        manifest = artifact.manifest | {"files": {"evidence_0.flac": {"sha256": "0" * 64}}}
        with pytest.raises(UnprovenError, match=r"evidence_0\.flac is not the file"):
            read_evidence(replace(artifact, manifest=manifest), BACKEND, MODEL_HZ)

    @pytest.mark.parametrize("clips", [None, [], {"evidence_0.flac": {BACKEND: {"tokens": []}}}])
    def test_a_broken_entry_is_unproven(self, artifact: Artifact, clips: Any) -> None:
        manifest = {"evidence": {"limit": 0.05, "clips": clips}}
        with pytest.raises(UnprovenError, match="cannot be read"):
            read_evidence(replace(artifact, manifest=manifest), BACKEND, MODEL_HZ)
