import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC, PreTrainedModel

from app.models import open_model
from scripts.compression.students_of_teacher import IMPORTANCE, rows_of, write_first_student, write_importance
from scripts.speech.data import DataError, SpeechRows
from scripts.training.checkpoints import load_with_head
from scripts.training.importance import Importance
from scripts.training.student_checkpoint import CLIPS, batches_of, inputs_of
from scripts.training.students import Shape, make_student
from tests.checkpoints import built
from tests.speech import write_clips

LABEL = "l1-f24-c20"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def made(folder: Path, teacher: Path, importance: Path, rows: SpeechRows | None) -> PreTrainedModel:
    folder.mkdir()
    count = write_first_student(teacher, LABEL, folder, importance, None if rows is None else lambda: rows, "tr")
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(folder)
    assert count == {"parameters": model.num_parameters()}
    open_model(folder)
    return model


def same(one: PreTrainedModel, other: PreTrainedModel) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_a_student_has_the_parts_that_are_important_on_speech(checkpoints: Path, tmp_path: Path) -> None:
    teacher, data = built("small", checkpoints), write_clips(tmp_path, ["bir", "iki", None])
    assert write_importance(teacher, str(data), "tr", tmp_path) == {"clips": 2}
    measured = Importance.load(tmp_path / IMPORTANCE)
    assert measured.layers is not None
    assert sorted(measured.layers) == [0, 1]
    original: PreTrainedModel = AutoModelForCTC.from_pretrained(teacher)
    cut = made(tmp_path / "cut", teacher, tmp_path, None)
    assert same(cut, make_student(original, Shape.parse(LABEL), measured))
    assert not same(cut, make_student(original, Shape.parse(LABEL)))


def test_the_weights_of_a_student_are_solved_on_speech(checkpoints: Path, tmp_path: Path) -> None:
    teacher, data = built("small", checkpoints), write_clips(tmp_path, ["bir", "iki", None])
    write_importance(teacher, str(data), "tr", tmp_path)
    rows = rows_of(str(data))
    assert len(rows) == 3
    solved = made(tmp_path / "solved", teacher, tmp_path, rows)
    checkpoint = load_with_head(teacher, "tr")
    clips = inputs_of(batches_of(checkpoint, rows, CLIPS))
    assert len(clips) == 2
    measured = Importance.load(tmp_path / IMPORTANCE)
    assert same(solved, make_student(checkpoint.model, Shape.parse(LABEL), measured, clips))
    assert not same(solved, made(tmp_path / "cut", teacher, tmp_path, None))


def test_columns_that_are_not_detected_can_be_named(checkpoints: Path, tmp_path: Path) -> None:
    teacher, data = built("small", checkpoints), write_clips(tmp_path, ["bir", "iki"])
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    renamed = [json.dumps({"sound": row["audio"], "words": row["text"]}) for row in rows]
    data.write_text("\n".join(renamed), encoding="utf-8")
    columns = {"audio_column": "sound", "text_column": "words"}
    assert write_importance(teacher, str(data), "tr", tmp_path, **columns) == {"clips": 2}
    with pytest.raises(DataError):
        write_importance(teacher, str(data), "tr", tmp_path)


def test_texts_are_needed(checkpoints: Path, tmp_path: Path) -> None:
    data = write_clips(tmp_path, ["...", "..."])
    with pytest.raises(DataError, match="no clip has"):
        write_importance(built("small", checkpoints), str(data), "tr", tmp_path)
