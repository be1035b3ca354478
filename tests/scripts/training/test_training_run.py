import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from scripts.training.ctc_objective import CtcObjective
from scripts.training.training_config import TrainingConfig
from scripts.training.training_record import RECORD
from scripts.training.training_rows import load_rows
from scripts.training.training_run import train
from tests.checkpoints import built
from tests.speech import write_clips


class StopAfter(TrainerCallback):
    """Stops a training after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.seen: list[int] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.seen.append(state.global_step)
        control.should_training_stop = state.global_step == self.steps
        return control


def test_training_is_a_function(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, model = str(write_clips(tmp_path, ["bir", "iki", "üç"])), str(built("small", checkpoints))
    config = TrainingConfig(model, data, tmp_path / "out", max_steps=5, num_workers=0, precision="fp32", batch_s=1)
    rows = load_rows(config)
    assert (len(rows.train), len(rows.evaluation)) == (2, 1)
    callback = StopAfter(3)
    metrics = train(config, CtcObjective(model, rows.train.texts()), rows, [callback])

    assert callback.seen == [1, 2, 3]
    record = json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8"))
    assert record["metrics"] == metrics
    assert {"eval_wer", "eval_cer", "eval_loss"} <= metrics.keys()
    options = record["arguments"]
    assert (options["model_name"], options["dataset_name"]) == (model, data)
    assert (options["learning_rate"], options["language"]) == (1e-4, "tr"), "the defaults of the objective"
