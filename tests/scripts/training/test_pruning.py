"""Prunes tiny models: the schedule, what is chosen, whole trainings, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCTC, TrainerControl, TrainerState

from app.models import open_model
from scripts.speech.data import DataError
from scripts.training.pruning import (
    STATE_FILE,
    MagnitudePruning,
    MovementPruning,
    Schedule,
    make_pruning,
    prunable,
    smallest,
    sparsity,
)
from tests.checkpoints import built
from tests.scripts.test_train import run, scalars
from tests.scripts.training.interruption import interrupted_after
from tests.speech import write_clips

METHODS = ("magnitude", "movement")


class TestSchedule:
    def test_it_grows_with_a_cubic_curve(self) -> None:
        schedule = Schedule(0.8, 1000)
        assert (schedule.begin, schedule.end) == (100, 700)
        assert [schedule.share(step) for step in (0, 100, 700, 1000)] == [0, 0, 0.8, 0.8]
        assert schedule.share(400) == pytest.approx(0.8 * (1 - 0.5**3))
        due = [step for step in range(1, 1001) if schedule.is_due(step)]
        assert (due[0], due[-1], len(due)) == (112, 700, 50)

    @pytest.mark.parametrize("steps", range(1, 9))
    def test_the_shortest_training_reaches_the_end(self, steps: int) -> None:
        schedule = Schedule(0.5, steps)
        due = [step for step in range(1, steps + 1) if schedule.is_due(step)]
        assert due[-1] == schedule.end <= steps
        assert schedule.share(due[-1]) == 0.5


def test_an_exact_number_of_values_is_left_out() -> None:
    values = torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
    assert smallest(values, 0.5).tolist() == [[True, False, False], [True, False, True]]
    assert smallest(values, 0.34).sum() == 4
    assert smallest(values, 0.0).all()


def test_linear_layers_are_pruned_but_not_the_head(checkpoints: Path) -> None:
    model = AutoModelForCTC.from_pretrained(built("small", checkpoints))
    names = prunable(model)
    assert len(names) == 1 + 2 * 6, "the projection, and six in each layer"
    assert not any("lm_head" in name or "conv" in name for name in names)
    more = prunable(model, convolutions=True).keys() - names.keys()
    assert more == {f"wav2vec2.feature_extractor.conv_layers.{index}.conv.weight" for index in range(1, 7)}
    model.freeze_feature_encoder()
    assert prunable(model, convolutions=True).keys() == names.keys()


class Steps:
    """Calls a callback as the Trainer does, for one weight whose gradient is given."""

    def __init__(self, pruning: type[MagnitudePruning], weight: Tensor, steps: int, folder: Path) -> None:
        self.weight = nn.Parameter(weight)
        self.pruning = pruning({"weight": self.weight}, 0.5)
        self.state, self.control = TrainerState(max_steps=steps), TrainerControl()
        self.arguments: Any = type("Arguments", (), {"output_dir": str(folder)})()
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1, momentum=0.9)
        self.pruning.on_train_begin(self.arguments, self.state, self.control)

    def step(self, gradient: list[float]) -> list[float]:
        self.weight.grad = torch.tensor(gradient)
        self.pruning.on_pre_optimizer_step(self.arguments, self.state, self.control)
        self.optimizer.step()
        self.state.global_step += 1
        self.pruning.on_step_end(self.arguments, self.state, self.control)
        return self.weight.tolist()


def test_by_magnitude_the_smallest_weights_become_zero_and_stay_so(tmp_path: Path) -> None:
    steps = Steps(MagnitudePruning, torch.tensor([1.0, -0.1, -2.0, 0.2]), 4, tmp_path)
    found = [steps.step([0.0, 1.0, 0.0, -1.0]) for _ in range(4)]
    assert [values[0::2] for values in found] == [[1.0, -2.0]] * 4
    assert found[0][1::2] == pytest.approx([0.0, 0.3]), "1.4 of 4 weights, rounded"
    assert [values[1::2] for values in found[1:]] == [[0.0, 0.0]] * 3


def test_by_movement_the_weights_that_shrink_become_zero(tmp_path: Path) -> None:
    """The second and the third weight move away from zero, the others towards it."""
    steps = Steps(MovementPruning, torch.tensor([1.0, -0.1, 0.1, -2.0]), 4, tmp_path)
    for _ in range(4):
        last = steps.step([0.1, 0.1, -0.1, -0.1])
    assert [value == 0 for value in last] == [True, False, False, True]
    assert torch.allclose(steps.pruning.scores["weight"].sign(), torch.tensor([-1.0, 1, 1, -1]))  # type: ignore[attr-defined]


def test_by_movement_a_weight_comes_back_with_its_value(tmp_path: Path) -> None:
    steps = Steps(MovementPruning, torch.tensor([1.0, 3.0]), 10, tmp_path)
    found = [steps.step([1.0, 0.0]) for _ in range(4)]  # the first weight moves towards zero
    assert [first for first, _ in found] == pytest.approx([0.9, 0.71, 0.0, 0.0])
    last = steps.step([-9.0, 9.0])  # it would grow, and the second one shrinks
    assert last == pytest.approx([0.71 - 0.1 * 2.71, 0.0]), "with the step in which it was left out"


def test_gradients_that_overflow_do_not_spoil_the_scores(tmp_path: Path) -> None:
    steps = Steps(MovementPruning, torch.tensor([1.0, 3.0]), 10, tmp_path)
    steps.step([float("inf"), float("nan")])
    assert steps.pruning.scores["weight"].tolist() == [0.0, 0.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_has_exactly_the_zeros_that_were_asked_for(
    method: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_clips(tmp_path, ["bir", "iki", "üç"]), str(built("small", checkpoints))
    arguments = ["--model_name", model, "--dataset_name", str(data), "--output_dir", "out", "--max_steps", "8"]
    arguments += ["--logging_steps", "1", "--eval_steps", "4", "--optimizer", "muon"]
    run(tmp_path, monkeypatch, *arguments, "--prune_to", "0.8", "--pruning", method, "--prune_convolutions")
    pruned = AutoModelForCTC.from_pretrained(tmp_path / "out")
    before = AutoModelForCTC.from_pretrained(model).state_dict()
    weights = prunable(pruned, convolutions=True)
    for name, weight in weights.items():
        assert int((weight == 0).sum()) == round(0.8 * weight.numel()), name
        assert not torch.equal(weight[weight != 0], before[name][weight != 0]), "it is trained on"
    assert sparsity(weights) == pytest.approx(0.8, abs=1e-3)
    assert not any((value == 0).any() for name, value in pruned.named_parameters() if name == "lm_head.weight")
    assert f"of the weights of {len(weights)} layers are zero" in capsys.readouterr().out
    logged = scalars(tmp_path / "runs/out")["train/sparsity"]
    assert 0 < logged[0] < 0.4
    assert logged == sorted(logged)
    assert logged[-1] == pytest.approx(0.8, abs=1e-3)
    open_model(tmp_path / "out")


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_pruning_ends_with_the_same_weights(
    method: str, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_clips(tmp_path, ["bir", "iki", "üç"]), str(built("small", checkpoints))
    arguments = ["--model_name", model, "--dataset_name", str(data), "--output_dir", "out", "--max_steps", "8"]
    arguments += ["--eval_steps", "3", "--prune_to", "0.6", "--pruning", method, "--learning_rate", "1e-2"]
    run(tmp_path / "whole", monkeypatch, *arguments)
    with interrupted_after(5, monkeypatch), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", monkeypatch, *arguments)
    lost = tmp_path / "lost"
    shutil.copytree(tmp_path / "parts", lost)
    run(tmp_path / "parts", monkeypatch, *arguments)
    assert "Resuming from out/checkpoint-3" in capsys.readouterr().out
    whole, parts = (load_file(tmp_path / run / "out/model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    with pytest.raises(DataError, match=r"a training with --prune_to 0.6"):
        run(tmp_path / "parts", monkeypatch, *arguments, "--prune_to", "0.5")
    if method == "movement":
        assert not list((tmp_path / "whole").rglob("*.tmp"))
        (lost / "out/checkpoint-3" / STATE_FILE).unlink()
        with pytest.raises(DataError, match=r"checkpoint-3/pruning.safetensors is missing: delete"):
            run(lost, monkeypatch, *arguments)


def test_a_training_that_stops_early_is_pruned(tmp_path: Path) -> None:
    steps = Steps(MagnitudePruning, torch.tensor([1.0, -0.1, -2.0, 0.2]), 100, tmp_path)
    assert 0.0 not in steps.step([0.0] * 4)
    steps.pruning.on_train_end(steps.arguments, steps.state, steps.control)
    assert steps.weight.tolist() == [1.0, 0.0, -2.0, 0.0]


def test_options_that_make_no_sense(checkpoints: Path) -> None:
    model = AutoModelForCTC.from_pretrained(built("small", checkpoints))
    assert make_pruning(model, 0.0, None, False) is None
    for share in (-0.1, 1.0, 80.0):
        with pytest.raises(ValueError, match="--prune_to is a share of the weights"):
            make_pruning(model, share, None, False)
    with pytest.raises(ValueError, match="need --prune_to"):
        make_pruning(model, 0.0, "movement", False)
    with pytest.raises(ValueError, match="need --prune_to"):
        make_pruning(model, 0.0, None, True)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="finds no weights"):
        make_pruning(model, 0.5, None, False)
