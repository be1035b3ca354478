import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.compression import training_job
from scripts.compression.training_job import PROGRESS, TrainingJob, Watcher, run
from scripts.training.training_config import LOGS
from tests.checkpoints import built
from tests.speech import write_clips


@pytest.fixture
def job(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    monkeypatch.chdir(tmp_path)
    config = {
        "model_name": str(built("small", checkpoints)),
        "dataset_name": str(write_clips(tmp_path, ["bir", "iki", "üç"])),
        "max_steps": 3,
        "eval_steps": 2,
        "batch_s": 1.0,
        "num_workers": 0,
        "precision": "fp32",
    }
    return TrainingJob("out", "trained", "small", "key", config, {"language": "tr"})


def test_a_training_leaves_a_checkpoint_and_its_figures(job: TrainingJob, tmp_path: Path) -> None:
    result = job.stage.made(lambda folder: run(job, folder), resumes=True)
    assert (result["steps"], result["steps_done"]) == (3, 3)
    assert result["parameters"] > 0
    assert "eval_wer" in result["metrics"]
    names = {path.name for path in job.stage.folder.iterdir()}
    assert {"config.json", "model.safetensors", "vocab.json", "training.json", "result.json"} <= names
    assert not [name for name in names if name.startswith("checkpoint-") or name == PROGRESS]


@pytest.mark.parametrize(
    "options",
    [
        {"pruning": "movement", "prune_to": 0.5, "quantize_bits": 0},
        {"quantize_bits": 4, "temperature": 2.0, "alpha": 0.3, "hidden_weight": 1.0, "blank_margin": 1},
    ],
)
def test_the_rows_of_pruning_and_quantization_train(job: TrainingJob, options: dict[str, Any]) -> None:
    if "alpha" in options:
        options = options | {"teacher": job.config["model_name"]}
    row = replace(job, options={**job.options, **options})
    result = row.stage.made(lambda folder: run(row, folder), resumes=True)
    assert result["steps_done"] == 3
    record = json.loads((row.stage.folder / "training.json").read_text())["arguments"]
    assert {name: record[name] for name in options} == options


def test_a_training_resumes_in_a_study_that_was_moved(
    job: TrainingJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Watcher):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            if state.global_step == 3:
                raise KeyboardInterrupt
            return super().on_step_end(args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training_job, "Watcher", Interrupted)
        job.stage.made(lambda folder: run(job, folder), resumes=True)
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "data").mkdir()
    data = write_clips(tmp_path / "data", ["bir", "iki", "üç"])
    moved = replace(job, out="moved", config={**job.config, "dataset_name": str(data)})
    steps: list[int] = []

    class Counting(Watcher):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            steps.append(state.global_step)
            return super().on_step_end(args, state, control, **kwargs)

    monkeypatch.setattr(training_job, "Watcher", Counting)
    moved.stage.made(lambda folder: run(moved, folder), resumes=True)
    assert steps == [3], "from the checkpoint of step 2"


def test_a_training_ends_at_the_deadline(job: TrainingJob) -> None:
    late = replace(job, deadline=time.time() - 1)
    result = late.stage.made(lambda folder: run(late, folder), resumes=True)
    assert (result["steps"], result["steps_done"]) == (3, 1)


def test_the_pace_leaves_nothing_but_the_time_of_a_step(job: TrainingJob) -> None:
    pace = replace(job, kind="pace", only_pace=True)
    result = pace.stage.made(lambda folder: run(pace, folder))
    assert result["step_s"] > 0
    assert [path.name for path in pace.stage.folder.iterdir()] == ["result.json"]
    assert not (LOGS / pace.stage.folder.name).exists()


def test_a_process_whose_study_has_ended_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(tmp_path / PROGRESS, None)
    state: Any = SimpleNamespace(global_step=1, max_steps=9)
    parent = os.getppid()  # 1 in a container
    monkeypatch.setattr(os, "getppid", lambda: parent + 1)
    with pytest.raises(SystemExit, match="the study has ended"):
        watcher.on_step_end(state, state, state)


def test_progress_is_written(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path / PROGRESS, None)
    state: Any = SimpleNamespace(global_step=0, max_steps=9)
    control: Any = SimpleNamespace()
    watcher.on_step_begin(state, state, control)
    state.global_step = 4
    watcher.on_evaluate(state, state, control, metrics={"eval_wer": 0.25})
    progress = json.loads((tmp_path / PROGRESS).read_text())
    assert (progress["step"], progress["steps"], progress["wer"]) == (4, 9, 0.25)
    assert progress["step_s"] >= 0


def test_a_job_survives_json(job: TrainingJob) -> None:
    assert TrainingJob(**json.loads(json.dumps(asdict(job)))) == job
