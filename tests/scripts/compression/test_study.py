from pathlib import Path

import pytest

from scripts.compression.students_of_teacher import StudyError
from scripts.compression.study import Study
from tests.checkpoints import built
from tests.scripts.compression.made_studies import again
from tests.scripts.compression.plans import FOCUS, SHAPES, options


def done(study: Study) -> set[str]:
    names = {one.name for one in study.plan.trainings if study.trained(one).is_done}
    names |= {f"artifact {point.name}" for point in study.plan.points if study.artifact(point).is_done}
    return names


def test_only_what_depends_on_a_change_is_made_again(study: Study) -> None:
    assert done(again(study)) == done(study)
    distilled = done(again(study, distillation={"alpha": 0.9}))
    assert distilled == {
        f"{FOCUS}-plain",
        "teacher-plain",
        "artifact teacher",
        f"artifact {FOCUS}-plain",
        "artifact teacher-plain",
    }
    assert done(again(study, proof_clips=7)) == {name for name in done(study) if not name.startswith("artifact")}
    assert done(again(study, steps=5)) == {"artifact teacher"}
    assert done(again(study, jobs=3, budget_h=1.0)) == done(study)
    cut = done(again(study, reconstruct=False))
    assert cut == {"teacher-plain", "artifact teacher", "artifact teacher-plain"}, "no student begins as before"
    workers = dict(study.options.training) | {"num_workers": 9}
    assert done(again(study, training=workers)) == done(study)


def test_other_data_train_all_anew(study: Study, tmp_path: Path) -> None:
    assert done(again(study, dataset_name="other")) == {"artifact teacher"}
    (tmp_path / "clean.jsonl").write_text("{}\n")
    assert not [name for name in done(again(study)) if name.startswith("artifact")]


def test_a_moved_study_is_the_same(study: Study, tmp_path: Path) -> None:
    study.out.rename(tmp_path / "moved")
    assert done(again(study, out=tmp_path / "moved")) == {
        *(one.name for one in study.plan.trainings[:-1]),
        *(f"artifact {point.name}" for point in study.plan.points if point.training != study.plan.trainings[-1].name),
    }


def test_the_time_of_a_run_is_a_limit_too(study: Study) -> None:
    assert study.left_s() is None
    assert again(study, budget_h=2.0).left_s() == 3600, "an hour is spent"
    left_s = again(study, budget_h=2.0, run_h=0.1).left_s()
    assert left_s is not None
    assert 300 < left_s <= 360
    assert again(study, budget_h=1.0, run_h=0.1).left_s() == 0
    assert again(study, budget_h=1.0).used_up


def test_a_whisper_model_is_no_teacher(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(StudyError, match="whisper model: only CTC models have students here"):
        Study(options(tmp_path / "out", teacher=str(tmp_path)))


def test_a_teacher_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be a teacher"):
        Study(options(tmp_path / "out", teacher=str(tmp_path / "none")))


def test_shapes_come_from_the_probe_or_the_options(checkpoints: Path, tmp_path: Path) -> None:
    study = Study(options(tmp_path / "out", teacher=str(built("small", checkpoints))))
    with pytest.raises(StudyError, match="run the stage probe first, or name them with --shapes"):
        study.choose_shapes()
    study.state.set(shapes={"labels": list(SHAPES), "focus": "l6"})
    study.choose_shapes()
    assert study.plan.focus == "l6"
    other = again(study, focus="l1")
    assert other.plan.candidates == ("l1", *SHAPES)
    other = again(study, shapes=("l2", "l1"))
    assert (other.plan.focus, other.plan.candidates) == ("l2", ("l2", "l1"))


def test_students_are_made_anew_for_other_columns(study: Study) -> None:
    other = again(study, training=dict(study.options.training) | {"text_column": "words", "audio_column": None})
    assert other.columns() == {"text_column": "words"}
    assert other.student(FOCUS).key != study.student(FOCUS).key == again(study, jobs=2).student(FOCUS).key
