import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from app.artifacts import (
    MANIFEST_FORMAT,
    MANIFEST_NAME,
    Artifact,
    ArtifactError,
    Proof,
    UnprovenError,
    open_artifact,
    read_manifest,
    sha256_of,
    write_manifest,
)
from app.files import LFS_POINTER
from app.models import check_proofs, open_model
from tests.checkpoints import built, rewrite


@pytest.fixture
def cahya(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of the published shape, to be changed."""
    return shutil.copytree(built("cahya_like", checkpoints), tmp_path / "cahya")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"there is no model folder .*nowhere"):
        open_artifact(tmp_path / "nowhere")


def test_the_manifest_gives_the_name(cahya: Path) -> None:
    rewrite(cahya / MANIFEST_NAME, name="wav2vec2 Türkçe")
    assert open_artifact(cahya).name == "wav2vec2 Türkçe"


@pytest.fixture
def proven(cahya: Path) -> Path:
    """An artifact whose manifest describes and proves everything."""
    (cahya / "model.onnx").write_bytes(bytes(range(256)) * 100)
    proofs = [
        Proof.judge("onnx", "max_difference", 1e-5, "at most", 1e-3),
        Proof.judge("onnx_int8", "argmax_agreement", 0.99, "at least", 0.95),
    ]
    manifest = {
        "format": MANIFEST_FORMAT,
        "name": "a model",
        "files": {path.name: {"sha256": sha256_of(path)} for path in cahya.iterdir() if path.is_file()},
        "proofs": {"proven": True, "checks": [asdict(proof) for proof in proofs]},
        "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {"onnx": {}, "onnx_int8": {}}}},
    }
    write_manifest(cahya, manifest)
    return cahya


class TestFiles:
    def test_the_file_described_is_given(self, proven: Path) -> None:
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"

    @pytest.mark.parametrize("position", [0, 12_345, 25_599])
    def test_one_changed_byte_is_found(self, proven: Path, position: int) -> None:
        content = bytearray((proven / "model.onnx").read_bytes())
        content[position] ^= 0x10
        (proven / "model.onnx").write_bytes(content)
        with pytest.raises(
            UnprovenError, match=r"^a model is .*: model\.onnx is not the file that manifest\.json describes"
        ):
            open_artifact(proven).file("model.onnx")

    def test_a_file_cut_off_is_found(self, proven: Path) -> None:
        (proven / "model.onnx").write_bytes((proven / "model.onnx").read_bytes()[:-1])
        with pytest.raises(UnprovenError, match="sha256"):
            open_artifact(proven).file("model.onnx")

    def test_a_missing_file_says_how_to_make_it(self, proven: Path) -> None:
        (proven / "model.onnx").unlink()
        with pytest.raises(ArtifactError, match=rf"model\.onnx is missing.*export\.py .*--onnx_dir {proven}"):
            open_artifact(proven).file("model.onnx")

    def test_a_file_that_the_manifest_does_not_describe_is_not_what_was_proven(self, proven: Path) -> None:
        (proven / "model_int8.onnx").write_bytes(b"another")
        with pytest.raises(UnprovenError, match=r"manifest\.json does not describe model_int8\.onnx"):
            open_artifact(proven).file("model_int8.onnx")

    @pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data", "model.onnx.data"])
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (LFS_POINTER + b"\noid sha256:0\n", "is a Git LFS pointer.*git lfs pull"),
            (b"", "is empty"),
            (None, "is a link to"),
        ],
    )
    def test_a_broken_file_is_an_error_even_if_unproven_ones_are_allowed(
        self, proven: Path, name: str, content: bytes | None, said: str
    ) -> None:
        (proven / name).unlink(missing_ok=True)
        if content is None:
            (proven / name).symlink_to("nothing")
        else:
            (proven / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"^{name} in .* {said}"):
            open_artifact(proven, allow_unproven=True).file("model.onnx")

    def test_without_a_manifest_files_are_taken_as_they_are(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"

    @pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data"])
    def test_weights_outside_the_file_are_part_of_it(self, proven: Path, name: str) -> None:
        (proven / name).write_bytes(b"weights")
        files = read_manifest(proven)["files"] | {name: {"sha256": sha256_of(proven / name)}}
        rewrite(proven / MANIFEST_NAME, files=files)
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"
        (proven / name).write_bytes(b"weightz")
        with pytest.raises(UnprovenError, match=name):
            open_artifact(proven).file("model.onnx")


class TestProofs:
    @pytest.mark.parametrize("backend", ["onnx", "onnx_int8"])
    def test_a_proven_backend_has_no_unproven_reasons(self, proven: Path, backend: str) -> None:
        artifact = open_artifact(proven, allow_unproven=True)
        artifact.check_proofs(backend)
        assert artifact.unproven_reasons == []

    def test_the_reference_needs_no_proof(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        check_proofs(open_model(proven), "pytorch")
        with pytest.raises(UnprovenError):
            check_proofs(open_model(proven), "onnx")

    def test_without_a_manifest_nothing_is_proven(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        with pytest.raises(UnprovenError, match=r"there is no manifest\.json; prove it anew with .*export\.py --adopt"):
            open_artifact(proven).check_proofs("onnx")

    def test_a_failed_proof_is_said_with_its_figure_and_limit(self, proven: Path) -> None:
        proofs = read_manifest(proven)["proofs"]
        proofs["checks"][1] |= {"measured": 0.91, "passed": False}
        rewrite(proven / MANIFEST_NAME, proofs=proofs)
        for backend in ("onnx", "onnx_int8"):
            with pytest.raises(UnprovenError, match=r"argmax_agreement of onnx_int8 is 0\.91, must be at least 0\.95"):
                open_artifact(proven).check_proofs(backend)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"format": 1}, "is of format 1, not 3"),
            ({"format": None}, "is of format None, not 3"),
            ({"format": 4}, "is of format 4, not 3"),
            ({"files": None}, "describes no files"),
            ({"files": {}}, "describes no files"),
            ({"files": ["model.onnx"]}, "describes no files"),
            ({"proofs": None}, "lists no proofs that can be read"),
            ({"proofs": []}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": None}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": ["all is well"]}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": [{"passed": True}]}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": []}}, "lists no proof for onnx"),
            ({"evidence": None}, "keeps no evidence of onnx"),
            ({"evidence": {}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": []}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {}}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {"evidence_0.flac": None}}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {"evidence_0.flac": {"onnx_int8": {}}}}}, "keeps no evidence of onnx"),
        ],
    )
    def test_a_manifest_that_proves_nothing(self, proven: Path, changes: dict[str, Any], reason: str) -> None:
        artifact = open_artifact(proven)
        rewrite(proven / MANIFEST_NAME, **changes)
        with pytest.raises(UnprovenError, match=reason):
            replace(artifact, manifest=read_manifest(proven)).check_proofs("onnx")

    def test_a_manifest_that_says_so_is_unproven(self, proven: Path) -> None:
        rewrite(proven / MANIFEST_NAME, proofs=read_manifest(proven)["proofs"] | {"proven": False})
        with pytest.raises(UnprovenError, match="says that it is not"):
            open_artifact(proven).check_proofs("onnx")

    def test_a_backend_that_was_not_measured_is_unproven(self, proven: Path) -> None:
        with pytest.raises(UnprovenError, match="lists no proof for another"):
            open_artifact(proven).check_proofs("another")

    def test_what_is_allowed_is_noted_and_logged(self, proven: Path, caplog: pytest.LogCaptureFixture) -> None:
        (proven / "model.onnx").touch()
        (proven / "model.onnx").write_bytes(b"other")
        rewrite(proven / "vocab.json", â=99)
        rewrite(proven / MANIFEST_NAME, format=1)
        artifact = open_model(proven, allow_unproven=True).artifact
        artifact.check_proofs("onnx")
        assert artifact.file("model.onnx") == proven / "model.onnx"
        expected = ("vocab.json is not", "format 1", "model.onnx is not")
        for reason, part in zip(artifact.unproven_reasons, expected, strict=True):
            assert part in reason
        assert [record.getMessage() for record in caplog.records] == [
            f"USED ANYWAY: {reason}" for reason in artifact.unproven_reasons
        ]
        assert {record.levelname for record in caplog.records} == {"ERROR"}


class TestProof:
    @pytest.mark.parametrize(
        ("measured", "bound", "passed"),
        [
            (0.5, "at most", True),
            (0.51, "at most", False),
            (-0.1, "at most", True),
            (0.5, "at least", True),
            (0.49, "at least", False),
            (float("nan"), "at most", False),
            (float("-inf"), "at most", False),
            (float("inf"), "at least", False),
        ],
    )
    def test_it_passes_if_its_limit_is_kept(
        self, measured: float, bound: Literal["at most", "at least"], passed: bool
    ) -> None:
        assert Proof.judge("onnx", "figure", measured, bound, 0.5).passed == passed

    def test_no_number_can_be_written_as_json(self) -> None:
        proof = Proof.judge("onnx", "max_difference", float("nan"), "at most", 1e-3)
        assert json.loads(json.dumps(asdict(proof), allow_nan=False))["measured"] is None
        assert str(proof) == "max_difference of onnx is no number, must be at most 0.001"


class TestManifest:
    def test_it_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        path = write_manifest(tmp_path, {"name": "wav2vec2 Türkçe", "files": {}})
        assert path == tmp_path / MANIFEST_NAME
        assert read_manifest(tmp_path) == {"name": "wav2vec2 Türkçe", "files": {}}
        assert list(tmp_path.iterdir()) == [path]

    def test_many_numbers_stand_on_one_line(self, tmp_path: Path) -> None:
        manifest = {"tokens": [0, -1.5, 2e-05], "names": ["[1, 2]", "a"], "none": [], "nested": [{"some": [7]}]}
        text = write_manifest(tmp_path, manifest).read_text(encoding="utf-8")
        assert '"tokens": [ 0, -1.5, 2e-05 ],' in text
        assert json.loads(text) == manifest

    @pytest.mark.parametrize("value", [float("nan"), object()])
    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path: Path, value: Any) -> None:
        write_manifest(tmp_path, {"name": "before"})
        with pytest.raises((ValueError, TypeError)):
            write_manifest(tmp_path, {"name": "after", "value": value})
        assert read_manifest(tmp_path) == {"name": "before"}
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_full_disk_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_manifest(tmp_path, {"name": "before"})

        def write_half(path: Path, text: str, encoding: str) -> int:
            path.write_bytes(text.encode(encoding)[: len(text) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", write_half)
        with pytest.raises(OSError, match="No space left"):
            write_manifest(tmp_path, {"name": "after"})
        assert read_manifest(tmp_path) == {"name": "before"}
        assert len(list(tmp_path.iterdir())) == 1


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"dikte" * 1_000_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"dikte" * 1_000_000).hexdigest()


@pytest.mark.parametrize(
    ("manifest", "created"),
    [({"created": "2026-11-26"}, 1_795_651_200), ({}, 0), ({"created": "yesterday"}, 0), ({"created": None}, 0)],
)
def test_when_it_was_made(tmp_path: Path, manifest: dict[str, Any], created: int) -> None:
    assert Artifact(tmp_path, "a", manifest).created == created


def test_its_language_is_that_of_its_card(tmp_path: Path) -> None:
    assert Artifact(tmp_path, "a", {}).language is None
    (tmp_path / "README.md").write_text("---\nlanguage: tr\n---\n", encoding="utf-8")
    assert Artifact(tmp_path, "a", {}).language == "tr"
