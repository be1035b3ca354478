import importlib.metadata
import importlib.util
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app import selection
from app.artifacts import MANIFEST_FORMAT, ArtifactError, UnprovenError
from app.cpu import Cpu
from app.families import Family
from app.families.ctc import CtcFamily
from app.models import Model, open_model
from app.recognizer import AnyRecognizer
from app.selection import find_candidates, rank_backends
from app.settings import BUNDLED_MODEL
from app.speed import MIN_ROUNDS, Measured
from app.speed_record import BESIDE_MODEL
from scripts.exporting.artifact_folder import DESCRIBED_SUFFIXES
from tests.fakes import fake_artifact

EVERYTHING = (
    *("model.onnx", "model_int8.onnx", "model_openvino_int8.xml", "model_openvino_int8.bin", "model.safetensors"),
)
WITH_INT8 = Cpu("a CPU", ("AVX2",))
WITHOUT_INT8 = Cpu("an older CPU", ())


@dataclass
class Speeds:
    """Stands in for the measurement: the speeds that it finds, by backend, and what it was asked to measure."""

    of: dict[str, float] = field(default_factory=lambda: {"onnx_int8": 66.0, "openvino": 83.0, "onnx": 30.0})
    asked: list[list[list[str]]] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)

    def measure(self, load: Callable[[str], AnyRecognizer], groups: Sequence[Sequence[str]], workers: int) -> Measured:
        self.asked.append([list(group) for group in groups])
        backends = [backend for group in groups for backend in group]
        failures = {backend: error for backend, error in self.failures.items() if backend in backends}
        return Measured({backend: self.of[backend] for backend in backends if backend not in failures}, failures)


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    speeds = Speeds()
    monkeypatch.setattr(selection, "measure_speeds", speeds.measure)
    return speeds


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with INT8, and folders of the test's own to keep records in."""
    monkeypatch.setattr(selection, "this_cpu", lambda: WITH_INT8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def proven(*backends: str) -> dict[str, Any]:
    """A manifest that proves these backends."""
    check = {"name": "parity", "measured": 1.0, "bound": "at least", "limit": 0.9, "passed": True}
    return {
        "format": MANIFEST_FORMAT,
        "files": {name: {} for name in EVERYTHING},
        "proofs": {"proven": True, "checks": [check | {"backend": backend} for backend in backends]},
        "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {backend: {} for backend in backends}}},
    }


def model(tmp_path: Path, *files: str, proofs: Sequence[str] = ("onnx", "onnx_int8", "openvino")) -> Model:
    """A model folder with such files, which nobody can load, and a manifest with such proofs."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(b"weights")
    artifact = replace(fake_artifact(folder), manifest=proven(*proofs) if proofs else {})
    return Model(artifact, cast(Family, SimpleNamespace(graphs=CtcFamily.graphs)))


def with_manifest(opened: Model, **changes: Any) -> Model:
    """The same model with other things in its manifest."""
    return replace(opened, artifact=replace(opened.artifact, manifest=opened.artifact.manifest | changes))


def bundled_model(tmp_path: Path) -> Path:
    """A copy of it, without what a service that ran on it may have measured."""
    return shutil.copytree(BUNDLED_MODEL, tmp_path / "model", ignore=shutil.ignore_patterns(BESIDE_MODEL))


def rank(opened: Model, workers: int = 2, threads: int = 2) -> list[str]:
    return rank_backends(opened, workers, threads)


def uninstall(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else find_spec(name))


class TestTheFastest:
    @pytest.mark.parametrize(
        ("onnx_int8", "openvino", "expected"),
        [
            (66.0, 83.0, ["openvino", "onnx_int8"]),
            (66.0, 41.0, ["onnx_int8", "openvino"]),
            (66.0, 72.0, ["onnx_int8", "openvino"]),  # as fast, as far as can be told
            (66.0, 73.0, ["openvino", "onnx_int8"]),
        ],
    )
    def test_the_fastest_backend_wins(
        self, tmp_path: Path, speeds: Speeds, onnx_int8: float, openvino: float, expected: list[str]
    ) -> None:
        speeds.of |= {"onnx_int8": onnx_int8, "openvino": openvino}
        assert rank(model(tmp_path, *EVERYTHING))[:2] == expected

    def test_fp32_is_not_measured_beside_int8(self, tmp_path: Path, speeds: Speeds) -> None:
        speeds.of["onnx"] = 1000.0
        assert rank(model(tmp_path, *EVERYTHING)) == ["openvino", "onnx_int8", "onnx"]
        assert speeds.asked == [[["onnx_int8", "openvino"]]]

    def test_but_on_a_cpu_without_instructions_for_int8(
        self, tmp_path: Path, speeds: Speeds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(selection, "this_cpu", lambda: WITHOUT_INT8)
        speeds.of["onnx"] = 1000.0
        assert rank(model(tmp_path, *EVERYTHING)) == ["onnx", "openvino", "onnx_int8"]

    def test_fp32_is_measured_where_there_is_no_int8(self, tmp_path: Path, speeds: Speeds) -> None:
        assert rank(model(tmp_path, "model.onnx")) == ["openvino", "onnx"]

    def test_but_the_fp32_of_another_runtime_is_if_the_model_is_small(
        self, tmp_path: Path, speeds: Speeds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = model(tmp_path, "model_int8.onnx", "model.onnx", "model.onnx_data")
        assert rank(opened) == ["openvino", "onnx_int8", "onnx"]
        monkeypatch.setattr(selection, "SMALL_BYTES", 2 * len(b"weights") - 1)
        assert rank(opened) == ["onnx_int8", "openvino", "onnx"]
        assert speeds.asked == [[["onnx_int8", "openvino"]]], "and not again"

    @pytest.mark.parametrize("files", [("model_int8.onnx", "model.onnx"), ("model_int8.onnx",)])
    def test_one_without_rivals_is_not_measured(
        self, tmp_path: Path, speeds: Speeds, files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uninstall(monkeypatch, "openvino")
        opened = model(tmp_path, *files)
        assert rank(opened)[0] == "onnx_int8"
        assert speeds.asked == []
        assert not (opened.artifact.folder / BESIDE_MODEL).exists()

    def test_large_ones_are_loaded_one_after_the_other(
        self, tmp_path: Path, speeds: Speeds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = model(tmp_path, *EVERYTHING)
        assert selection._size_bytes(opened, "openvino") == 2 * len(b"weights")
        monkeypatch.setattr(selection, "MAX_TOGETHER_BYTES", 3 * len(b"weights") - 1)
        rank(opened)
        assert speeds.asked == [[["onnx_int8"], ["openvino"]]]

    def test_weights_outside_of_the_file_count(self, tmp_path: Path) -> None:
        opened = model(tmp_path, "model.onnx", "model.onnx_data")
        assert selection._size_bytes(opened, "onnx") == 2 * len(b"weights")

    def test_one_that_fails_is_left_out_and_tried_again_at_the_next_start(
        self, tmp_path: Path, speeds: Speeds, caplog: pytest.LogCaptureFixture
    ) -> None:
        opened = model(tmp_path, *EVERYTHING)
        speeds.failures["openvino"] = RuntimeError("illegal instruction")
        assert rank(opened) == ["onnx_int8", "onnx"]
        assert "openvino is left out: illegal instruction" in caplog.text
        speeds.failures.clear()
        assert rank(opened)[0] == "openvino"

    def test_if_all_fail_each_is_loaded_for_its_reason(self, tmp_path: Path, speeds: Speeds) -> None:
        speeds.failures = {backend: RuntimeError("no") for backend in speeds.of}
        assert rank(model(tmp_path, *EVERYTHING)) == ["onnx_int8", "openvino", "onnx"]

    def test_the_log_says_how_it_was_chosen(
        self, tmp_path: Path, speeds: Speeds, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "dikte")
        opened = model(tmp_path, *EVERYTHING)
        for how in ("measuring onnx_int8, openvino for a few seconds", "measured before"):
            caplog.clear()
            rank(opened)
            assert caplog.messages == [
                f"ASR_BACKEND=auto: {how}",
                "ASR_BACKEND=auto: seconds of audio per second: openvino 83, onnx_int8 66",
            ]


class TestTheRecord:
    def test_the_second_start_measures_nothing(self, tmp_path: Path, speeds: Speeds) -> None:
        opened = model(tmp_path, *EVERYTHING)
        first = rank(opened)
        speeds.of = {}
        assert rank(opened) == first
        assert len(speeds.asked) == 1
        assert (opened.artifact.folder / BESIDE_MODEL).is_file()

    def test_what_can_change_the_speed_measures_anew(
        self, tmp_path: Path, speeds: Speeds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = model(tmp_path, *EVERYTHING)
        rank(opened)
        version = importlib.metadata.version
        changes: dict[str, Callable[[], object]] = {
            "workers": lambda: rank(opened, workers=3),
            "threads": lambda: rank(opened, threads=1),
            "manifest": lambda: rank(with_manifest(opened, created="2026-01-02")),
            "cpu": lambda: rank(opened),
            "version": lambda: rank(opened),
            "cores": lambda: rank(opened),
            "files": lambda: rank(opened),
            "candidates": lambda: rank(opened),
        }
        for number, (change, run) in enumerate(changes.items(), start=2):
            if change == "cpu":
                monkeypatch.setattr(selection, "this_cpu", lambda: Cpu("a CPU", ("AVX2", "AVX-VNNI")))
            elif change == "version":
                monkeypatch.setattr(
                    importlib.metadata, "version", lambda name: "9.9" if name == "openvino" else version(name)
                )
            elif change == "cores":
                monkeypatch.setattr(selection, "available_cores", lambda: 1000)
            elif change == "files":
                (opened.artifact.folder / "model_int8.onnx").write_bytes(b"other weights")
            elif change == "candidates":
                (opened.artifact.folder / "model_openvino_int8.xml").unlink()
                monkeypatch.setattr(selection, "FAST_INT8", set[str]())  # so that FP32 is compared
            run()
            assert len(speeds.asked) == number, change
            run()
            assert len(speeds.asked) == number, f"{change}: kept"

    @pytest.mark.parametrize("kept", ["", "{", '{"records": [{"key": {}, "speeds": {"pytorch": 1e9}}]}'])
    def test_a_broken_record_measures_anew(self, tmp_path: Path, speeds: Speeds, kept: str) -> None:
        opened = model(tmp_path, *EVERYTHING)
        (opened.artifact.folder / BESIDE_MODEL).write_text(kept, encoding="utf-8")
        assert rank(opened)[0] == "openvino"
        assert len(speeds.asked) == 1

    def test_a_record_of_other_backends_counts_for_nothing(self, tmp_path: Path, speeds: Speeds) -> None:
        opened = model(tmp_path, *EVERYTHING)
        rank(opened)
        path = opened.artifact.folder / BESIDE_MODEL
        path.write_text(
            path.read_text(encoding="utf-8").replace('"openvino": 83.0', '"pytorch": 1e9'), encoding="utf-8"
        )
        assert rank(opened)[0] == "openvino"
        assert len(speeds.asked) == 2

    def test_where_it_cannot_be_kept_the_log_says_so(
        self, tmp_path: Path, speeds: Speeds, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = model(tmp_path, *EVERYTHING)
        monkeypatch.setattr(selection, "record_files", lambda folder: [folder / "model.onnx" / "record"])
        for number in (1, 2):
            assert rank(opened)[0] == "openvino"
            assert len(speeds.asked) == number
        assert "measured at every start" in caplog.text

    def test_it_is_no_part_of_the_artifact(self) -> None:
        assert Path(BESIDE_MODEL).suffix not in DESCRIBED_SUFFIXES


class TestCandidates:
    def test_only_what_is_proven(self, tmp_path: Path) -> None:
        assert find_candidates(model(tmp_path, *EVERYTHING, proofs=["onnx"])) == ["onnx"]

    def test_only_what_is_there(self, tmp_path: Path) -> None:
        assert find_candidates(model(tmp_path, "model_int8.onnx")) == ["onnx_int8"]

    def test_only_what_is_installed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uninstall(monkeypatch, "openvino")
        assert find_candidates(model(tmp_path, *EVERYTHING)) == ["onnx_int8", "onnx"]

    def test_half_of_openvinos_files_are_not_enough(self, tmp_path: Path) -> None:
        opened = model(tmp_path, "model_openvino_int8.xml", "model_int8.onnx")
        assert find_candidates(opened) == ["onnx_int8"]

    def test_the_reference_serves_a_checkpoint_that_was_not_exported(self, tmp_path: Path) -> None:
        assert find_candidates(model(tmp_path, "model.safetensors", proofs=[])) == ["pytorch"]

    def test_the_reference_does_not_stand_in_for_what_is_not_proven(self, tmp_path: Path) -> None:
        with pytest.raises(UnprovenError, match="pytorch: serves an exported model only if ASR_BACKEND names it"):
            find_candidates(model(tmp_path, *EVERYTHING, proofs=[]))

    def test_unproven_ones_count_where_that_is_allowed_and_nothing_is_proven(self, tmp_path: Path) -> None:
        proven_one = model(tmp_path, *EVERYTHING, proofs=["onnx"])
        opened = replace(proven_one, artifact=replace(proven_one.artifact, allow_unproven=True))
        assert find_candidates(opened) == ["onnx"]
        unproven = replace(opened, artifact=replace(opened.artifact, manifest={}))
        assert find_candidates(unproven) == ["onnx_int8", "openvino", "onnx"]

    def test_if_there_are_none_each_says_why(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        uninstall(monkeypatch, "openvino", "torch")
        with pytest.raises(ArtifactError) as refused:
            find_candidates(model(tmp_path, "model.onnx", proofs=["onnx_int8"]))
        *reasons, advice = str(refused.value).removeprefix("no backend can serve fake: ").split("; ")
        assert reasons == [
            "onnx_int8: model_int8.onnx is missing",
            "openvino: needs openvino: pip install -r requirements-openvino.txt",
            "onnx: not proven: manifest.json lists no proof for onnx",
            "pytorch: model*.safetensors is missing",
        ]
        assert advice.startswith("prove it anew with `python scripts/export.py --adopt")
        assert isinstance(refused.value, UnprovenError), "one of them could run"

    def test_without_anything_that_could_run_it_is_no_matter_of_proofs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uninstall(monkeypatch, "torch")
        with pytest.raises(
            ArtifactError, match=r"pytorch: needs torch: pip install -r requirements-train\.txt"
        ) as refused:
            find_candidates(model(tmp_path, "model.safetensors"))
        assert not isinstance(refused.value, UnprovenError)


def test_the_bundled_model_is_measured_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its backends that are installed, as on a CPU of which nothing is known. In a few rounds: nothing is asked
    about how fast each is.
    """
    monkeypatch.setattr(selection, "this_cpu", lambda: WITHOUT_INT8)
    monkeypatch.setattr("app.speed.ROUNDS", MIN_ROUNDS)
    opened = open_model(bundled_model(tmp_path))
    ranking = rank(opened)
    assert sorted(ranking) == sorted(find_candidates(opened))
    (record,) = json.loads((opened.artifact.folder / BESIDE_MODEL).read_text(encoding="utf-8"))["records"]
    assert record["speeds"].keys() == set(ranking)
    assert all(speed > 1 for speed in record["speeds"].values())
    monkeypatch.setattr(selection, "measure_speeds", lambda *arguments: pytest.fail("measured again"))
    assert rank(opened) == ranking


def test_a_file_that_is_not_the_proven_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selection, "this_cpu", lambda: WITHOUT_INT8)
    monkeypatch.setattr("app.speed.ROUNDS", 1)
    folder = bundled_model(tmp_path)
    (folder / "model_int8.onnx").write_bytes(b"something else")
    ranking = rank(open_model(folder))
    assert "onnx_int8" not in ranking
    assert "onnx_int8 is left out: tr-small is not proven: model_int8.onnx is not the file" in caplog.text
