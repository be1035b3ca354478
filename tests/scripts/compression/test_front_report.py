import json
import shutil
from pathlib import Path

import pytest

from scripts.compression.front import FrontPoint
from scripts.compression.front_report import write_front
from scripts.compression.point_figures import collect
from scripts.compression.study import Study
from tests.checkpoints import built
from tests.language_models import add_language_model
from tests.scripts.compression.made_studies import made_study
from tests.scripts.compression.plans import FOCUS, SHAPES, options


def test_the_report_has_all_parts(study: Study) -> None:
    path = write_front(study)
    text = path.read_text(encoding="utf-8")
    for title in (
        "Points to choose",
        "Points",
        "Controls",
        "Quantization",
        "Zeros",
        "Seeds",
        "The chain",
        "What did not",
    ):
        assert f"## {title}" in text
    assert f"| fastest within +0.5 points | {FOCUS} |" in text
    assert "| factor |  | 20.0 | 7.5 |  |" in text
    assert "| factor | 6.5 | 5.9 |  |" in text, "that of the case study"
    assert "the budget allowed 50% of the steps" in text
    assert "language model" not in text
    assert "DataError: no clips" in text
    assert "1993 of 2000 steps" in text
    assert f"{FOCUS}-magnitude50 (50% zeros by magnitude)" in text.partition("## What did not help")[2]
    assert (study.out / "front.png").read_bytes().startswith(b"\x89PNG")

    content = json.loads((study.out / "front.json").read_text(encoding="utf-8"))
    points = [FrontPoint.of_json(point) for point in content["points"]]
    assert points == collect(study)
    assert {point["name"] for point in content["points"] if point["on_front"]} == {FOCUS}
    assert content["chain_factors"] == pytest.approx({"size": 20, "latency": 7.5})
    figures = {figure["key"]: figure["value"] for figure in content["key_figures"]}
    assert figures["fastest_speed"] == pytest.approx(2.5)
    assert str(study.out.resolve()) not in json.dumps(content["points"]), "the folder can be moved"


def test_with_a_language_model_errors_are_those_of_the_service_and_of_greedy_decoding(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = add_language_model(shutil.copytree(built("small", checkpoints), tmp_path / "teacher"), "letter")
    study = made_study(tmp_path / "out", checkpoints, monkeypatch, teacher=teacher)
    text = write_front(study).read_text(encoding="utf-8")
    assert "All points have the language model of the teacher." in text
    served, greedy = text.partition("### clean: 50 clips")[2].split("Without the language model:")[:2]
    assert f"| {FOCUS} | 10.0% (10.0% to 10.0%) | +0.0 (+0.0 to +0.0) |" in served
    assert f"| {FOCUS} | 20.0% (20.0% to 20.0%) | +0.0 (+0.0 to +0.0) |" in greedy
    assert f"| {FOCUS}-plain | 30.0% (30.0% to 30.0%) | +10.0 (+10.0 to +10.0) |" in greedy
    (point,) = (one for one in collect(study) if one.name == FOCUS)
    assert (point.sets["clean"].wer.rate, point.greedy["clean"].wer.rate) == pytest.approx((0.1, 0.2))


def test_a_report_before_anything_is_made(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made_study(tmp_path / "out", checkpoints, monkeypatch)
    other = made_study(tmp_path / "made", checkpoints, monkeypatch, steps=1)
    for kind in ("artifact", "trained"):
        for folder in (other.out / kind).iterdir():
            (folder / "result.json").unlink()
    text = write_front(other).read_text(encoding="utf-8")
    assert "it is not trained yet" in text
    assert "it is not exported yet" in text
    assert write_front(study).is_file()


def test_a_study_that_only_probes_misses_nothing(checkpoints: Path, tmp_path: Path) -> None:
    study = Study(options(tmp_path, teacher=str(built("small", checkpoints)), dataset_name="", eval_sets={}))
    study.state.set(shapes={"labels": list(SHAPES), "focus": FOCUS})
    study.choose_shapes()
    assert "not trained yet" not in write_front(study).read_text(encoding="utf-8")
