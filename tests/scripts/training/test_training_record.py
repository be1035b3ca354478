import json
import shutil
from pathlib import Path

import pytest

from scripts.speech.data import DataError
from scripts.training.training_record import RECORD, check_complete, check_same_training, write_record
from tests.checkpoints import built


def test_paths_are_written_as_text(tmp_path: Path) -> None:
    write_record(tmp_path, {"output_dir": Path("a/b"), "seed": 0}, {"eval_wer": 0.5})
    record = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    assert record == {"arguments": {"output_dir": "a/b", "seed": 0}, "metrics": {"eval_wer": 0.5}}


def test_options_that_decide_what_is_trained_must_stay(tmp_path: Path) -> None:
    check_same_training(tmp_path, {"optimizer": "adamw"})  # there is no record yet
    write_record(tmp_path, {"optimizer": "muon", "lora_rank": 4, "max_steps": 1}, {})
    check_same_training(tmp_path, {"optimizer": "muon", "lora_rank": 4, "teacher": None, "max_steps": 2})
    with pytest.raises(DataError, match=r"a training with --optimizer muon: use another --output_dir, or --restart"):
        check_same_training(tmp_path, {"optimizer": "adamw"})
    with pytest.raises(DataError, match="has a training with --lora_rank 4"):
        check_same_training(tmp_path, {"optimizer": "muon"})
    with pytest.raises(DataError, match="has a training without --teacher"):
        check_same_training(tmp_path, {"optimizer": "muon", "lora_rank": 4, "teacher": "models/large"})


@pytest.mark.parametrize("broken", ["trainer_state.json", "model.safetensors"])
def test_an_incomplete_checkpoint_is_not_resumed(tmp_path: Path, checkpoints: Path, broken: str) -> None:
    checkpoint = shutil.copytree(built("small", checkpoints), tmp_path / "checkpoint-500")
    (checkpoint / "trainer_state.json").write_text("{}", encoding="utf-8")
    check_complete(checkpoint)
    if broken == "trainer_state.json":
        (checkpoint / broken).unlink()
    else:
        (checkpoint / broken).write_bytes((checkpoint / broken).read_bytes()[:1_000])
    with pytest.raises(DataError, match=r"checkpoint-500 is incomplete: delete it .*--restart"):
        check_complete(checkpoint)
