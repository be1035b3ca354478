import json
from pathlib import Path
from typing import Any

import pytest

from app.artifacts import read_manifest, why_unproven, write_manifest
from app.models import open_model
from scripts import compress
from scripts.common import ROOT, SAMPLES
from scripts.compress import main, options_of, parse_arguments
from scripts.compression.front_report import write_front
from scripts.compression.plan import TEACHER
from scripts.compression.students_of_teacher import StudyError
from scripts.compression.study_state import StudyState
from tests.scripts.compression.made_studies import made_study
from tests.scripts.compression.plans import FOCUS

MANIFEST = {"format": 3, "name": "of the point", "files": {}}


def arguments(*more: str) -> list[str]:
    return [
        "--out",
        "out",
        "--teacher",
        "t",
        "--dataset_name",
        "d",
        "--eval_manifest",
        "clean=a.jsonl",
        "b.jsonl",
        *more,
    ]


def test_the_options_are_those_of_the_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = options_of(
        parse_arguments(arguments("--alpha", "0.3", "--num_workers", "4", "--no-augment", "--jobs", "3"))
    )
    assert options.eval_sets == {"clean": "a.jsonl", "test": "b.jsonl"}
    assert options.distillation == {"temperature": 1.0, "alpha": 0.3, "hidden_weight": 1.0, "blank_margin": None}
    assert options.training["num_workers"] == 4
    assert options.training["batch_s"] == 48.0
    assert options.training["augment"] is False
    assert options.jobs == 3
    assert options.language == "tr"


def test_a_study_remembers_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = parse_arguments(
        arguments("--steps", "70", "--augment", "--budget_h", "3", "--jobs", "4", "--stages", "train")
    )
    StudyState(Path("out")).set(arguments=json.loads(json.dumps(compress.remembered(first))))
    later = options_of(parse_arguments(["--out", "out", "--alpha", "0.9"]))
    assert (later.teacher, later.dataset_name, later.steps) == ("t", "d", 70)
    assert later.eval_sets == {"clean": "a.jsonl", "test": "b.jsonl"}
    assert later.training["augment"] is True
    assert later.distillation["alpha"] == 0.9
    assert (later.budget_h, later.jobs) == (None, 1), "options of a run, not of the study"
    assert len(later.stages) > 1
    assert later.seeds == (1, 2)
    moved = options_of(parse_arguments(["--out", "out", "--eval_manifest", "clean=other.jsonl"]))
    assert moved.eval_sets == {"clean": "other.jsonl"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--pick", "speed<=1"], "--pick: there is no figure 'speed'"),
        (["--sparsities", "1"], "--sparsities are shares"),
        (["--tail_share", "0"], "--tail_share is a share"),
        (["--eval_manifest", "a=x", "a=y"], "give each set its own name"),
        (["--budget_h", "0"], "not above 0"),
        (["--bits", "3"], "invalid choice"),
    ],
)
def test_bad_options(more: list[str], message: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        parse_arguments(["--out", "out", "--teacher", "t", *more])
    assert message in capsys.readouterr().err


def test_a_stage_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["--out", "out", "--teacher", "t"]
    with pytest.raises(StudyError, match="train needs --dataset_name"):
        options_of(parse_arguments(command))
    with pytest.raises(StudyError, match="need --eval_manifest"):
        options_of(parse_arguments([*command, "--dataset_name", "d"]))
    assert options_of(parse_arguments([*command, "--stages", "probe"])).stages == ("probe",)
    with pytest.raises(SystemExit):
        parse_arguments(["--out", "out"])


class TestPick:
    @pytest.fixture
    def out(self, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        study = made_study(tmp_path / "out", checkpoints, monkeypatch)
        write_front(study)
        for folder in (study.out / "artifact").iterdir():
            write_manifest(folder, MANIFEST)
        return study.out

    def test_it_copies_the_artifact(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--out", str(out), "--pick", "wer<=+0.5", "--name", "quick"])
        assert "Serve it: ASR_MODEL_DIR=models/quick make serve" in capsys.readouterr().out
        assert Path("models/quick").is_dir()
        assert not Path("models/quick/result.json").exists()
        assert read_manifest(Path("models/quick")) == MANIFEST | {"name": "quick"}, "the service shows this name"
        assert all(read_manifest(folder) == MANIFEST for folder in (out / "artifact").iterdir())
        with pytest.raises(SystemExit, match="models/quick exists already"):
            main(["--out", str(out), "--pick", "wer<=+0.5", "--name", "quick"])
        main(["--out", str(out), "--pick", "wer<=+0.5"])
        assert read_manifest(Path(f"models/out-{FOCUS}"))["name"] == f"out-{FOCUS}"

    def test_no_point_fits(self, out: Path) -> None:
        with pytest.raises(SystemExit, match="no proven point fulfils latency_ms<=1"):
            main(["--out", str(out), "--pick", "latency_ms<=1"])
        assert not Path("models").exists()

    def test_an_artifact_that_was_not_copied(self, out: Path) -> None:
        (out / "artifact").rename(out / "elsewhere")
        with pytest.raises(SystemExit, match="run the stages export and report again"):
            main(["--out", str(out), "--pick", "wer<=+0.5"])


@pytest.mark.slow
def test_from_a_teacher_to_an_artifact_that_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(SAMPLES / "manifest.jsonl")
    command = [
        *("--out", "out", "--teacher", str(ROOT / "models" / "tr-small"), "--dataset_name", data),
        *("--eval_manifest", f"clean={data}", "--shapes", "l2-c64", "--rows", "controls", "--steps", "2"),
        *(
            "--eval_steps",
            "1",
            "--batch_s",
            "9",
            "--num_workers",
            "0",
            "--precision",
            "fp32",
            "--max_reference_wer",
            "1",
        ),
        *("--runs", "2", "--length_s", "1", "--threads", "1", "--jobs", "2"),
    ]
    main([*command, "--stages", "probe", "train"])
    Path("out").rename("moved")
    command[1] = "moved"
    trained = {path: path.stat().st_mtime_ns for path in Path("moved/trained").glob("*/model.safetensors")}
    assert len(trained) == 3
    main(command)
    assert trained == {path: path.stat().st_mtime_ns for path in Path("moved/trained").glob("*/model.safetensors")}
    content = json.loads(Path("moved/front.json").read_text())
    points = {point["name"]: point for point in content["points"]}
    assert points.keys() == {TEACHER, "l2-c64", "l2-c64-plain", "teacher-plain"}
    assert not content["not_made"]
    assert all(point["speed"] and point["sets"]["clean"]["clips"] == 4 for point in points.values())
    assert [row["mean_s"] is not None and row["wer"] is not None for row in content["chain"]] == [True] * 6
    assert points["l2-c64"]["size_bytes"] < points[TEACHER]["size_bytes"]
    capsys.readouterr()
    main([*command, "--pick", "wer<=50", "--name", "picked"])
    assert "Serve it: ASR_MODEL_DIR=models/picked" in capsys.readouterr().out
    artifact = open_model(Path("models/picked")).artifact
    assert artifact.name == "picked"
    proven = [one for one in points.values() if one["unproven"] is None and one["sets"]["clean"]["wer"]["rate"] <= 0.5]
    fastest = min(proven, key=lambda one: one["speed"]["p50_s"])
    assert artifact.manifest["files"] == read_manifest(Path("moved") / fastest["artifact"])["files"]
    assert why_unproven(artifact.manifest, "onnx_int8") is None
