from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC

from app.models import open_model
from scripts.speech.data import DataError
from scripts.training.checkpoints import load_for_training
from scripts.training.importance import importance
from scripts.training.student_checkpoint import batches_of, write_student
from scripts.training.students import Shape, make_student, shape_of
from tests.checkpoints import built
from tests.speech import speech_rows

SHAPE = Shape(layers=1, feed_forward=24, conv_channels=20)
TEXTS: list[str | None] = ["bir", "iki", None, "üç"]


def test_a_student_is_chosen_by_speech(checkpoints: Path, tmp_path: Path) -> None:
    teacher = built("small", checkpoints)
    rows = speech_rows(TEXTS)
    count = write_student(str(teacher), SHAPE, tmp_path / "by speech", rows, clips=2)
    write_student(str(teacher), SHAPE, tmp_path / "by weights")
    found, plain = (AutoModelForCTC.from_pretrained(tmp_path / name) for name in ("by speech", "by weights"))
    assert shape_of(found.config) == SHAPE
    assert count == found.num_parameters() == plain.num_parameters()
    checkpoint = load_for_training(str(teacher), [], "tr")
    expected = make_student(checkpoint.model, SHAPE, importance(checkpoint.model, batches_of(checkpoint, rows, 2)))
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in found.state_dict().items())
    assert not all(torch.equal(value, plain.state_dict()[name]) for name, value in found.state_dict().items())
    open_model(tmp_path / "by speech")


def test_batches_have_texts(checkpoints: Path) -> None:
    checkpoint = load_for_training(str(built("small", checkpoints)), [], "tr")
    batches = batches_of(checkpoint, speech_rows(TEXTS), 10)
    assert sum(len(batch["labels"]) for batch in batches) == 3
    assert all((batch["labels"] >= 0).any(dim=1).all() for batch in batches)
    assert sum(len(batch["labels"]) for batch in batches_of(checkpoint, speech_rows(TEXTS), 2)) == 2
    with pytest.raises(DataError, match=r"no clip has 0.5 to 15 s and letters"):
        batches_of(checkpoint, speech_rows([None, "..."]), 10)
