from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC

from app.models import open_model
from scripts.speech.data import DataError
from scripts.training.checkpoints import load_for_training
from scripts.training.importance import Importance, importance
from scripts.training.student_checkpoint import batches_of, inputs_of, write_student
from scripts.training.students import Shape, make_student, shape_of
from tests.checkpoints import built
from tests.speech import speech_rows

SHAPE = Shape(layers=1, feed_forward=24, conv_channels=20)
TEXTS: list[str | None] = ["bir", "iki", None, "üç"]


def test_a_student_is_made_on_speech(checkpoints: Path, tmp_path: Path) -> None:
    teacher = built("small", checkpoints)
    rows = speech_rows(TEXTS)
    count = write_student(str(teacher), SHAPE, tmp_path / "solved", rows, clips=2)
    write_student(str(teacher), SHAPE, tmp_path / "cut", rows, clips=2, reconstruct=False)
    write_student(str(teacher), SHAPE, tmp_path / "by weights")
    found = {name: AutoModelForCTC.from_pretrained(tmp_path / name) for name in ("solved", "cut", "by weights")}
    assert all(shape_of(model.config) == SHAPE for model in found.values())
    assert {model.num_parameters() for model in found.values()} == {count}
    checkpoint = load_for_training(str(teacher), [], "tr")
    batches = batches_of(checkpoint, rows, 2)
    measured = importance(checkpoint.model, batches)
    expected = {
        "solved": make_student(checkpoint.model, SHAPE, measured, inputs_of(batches)),
        "cut": make_student(checkpoint.model, SHAPE, measured),
        "by weights": make_student(checkpoint.model, SHAPE),
    }
    for name, model in found.items():
        for other, student in expected.items():
            same = all(torch.equal(value, student.state_dict()[key]) for key, value in model.state_dict().items())
            assert same == (name == other)
        open_model(tmp_path / name)


def test_the_importance_may_be_measured_already(checkpoints: Path, tmp_path: Path) -> None:
    teacher, rows = built("small", checkpoints), speech_rows(TEXTS)
    checkpoint = load_for_training(str(teacher), [], "tr")
    values = importance(checkpoint.model, batches_of(checkpoint, rows, 2))
    other = Importance(tuple(-one for one in values.feed_forward), values.conv_channels, values.layers)
    write_student(teacher, SHAPE, tmp_path, rows, other, clips=2, reconstruct=False)
    state = AutoModelForCTC.from_pretrained(tmp_path).state_dict()
    expected = make_student(checkpoint.model, SHAPE, other).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())


def test_clips_have_no_padding(checkpoints: Path) -> None:
    checkpoint = load_for_training(str(built("small", checkpoints)), [], "tr")
    batches = batches_of(checkpoint, speech_rows(TEXTS), 10)
    lengths = [length for batch in batches for length in batch["attention_mask"].sum(dim=1).tolist()]
    assert [len(clip) for clip in inputs_of(batches)] == lengths
    assert len(lengths) == 3


def test_batches_have_texts(checkpoints: Path) -> None:
    checkpoint = load_for_training(str(built("small", checkpoints)), [], "tr")
    batches = batches_of(checkpoint, speech_rows(TEXTS), 10)
    assert sum(len(batch["labels"]) for batch in batches) == 3
    assert all((batch["labels"] >= 0).any(dim=1).all() for batch in batches)
    assert sum(len(batch["labels"]) for batch in batches_of(checkpoint, speech_rows(TEXTS), 2)) == 2
    with pytest.raises(DataError, match=r"no clip has 0.5 to 15 s and letters"):
        batches_of(checkpoint, speech_rows([None, "..."]), 10)
