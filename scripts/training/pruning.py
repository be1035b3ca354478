"""Set a growing share of a model's weights to zero while it is trained.

Zeros make the compressed file smaller. They do not make a product faster on ONNX Runtime, which computes them like any
number; students do (`scripts/training/students.py`).

Each pruned tensor loses the same share of its weights, which grows with the steps: from step t0 to t1,

    share(t) = prune_to * (1 - (1 - (t - t0) / (t1 - t0))^3)

(M. Zhu, S. Gupta, "To prune, or not to prune", 2017). The rest of the steps recovers. Two ways to choose the weights:

- **Magnitude**: the smallest ones. A weight that is zero stays zero.
- **Movement**: those that the training moves towards zero. The score of a weight is the sum over the steps of -gradient
  times weight, also for a weight that is left out, which can come back with the value that it had (V. Sanh et al.,
  "Movement pruning", 2020). It suits the fine-tuning of a model that was pretrained for something else.

The model holds the zeros themselves, so evaluations and checkpoints have them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from scripts.speech.data import DataError

PruningMethod = Literal["magnitude", "movement"]
BEGIN, END = 0.1, 0.7
"""t0 and t1, as shares of all steps."""
UPDATES = 50
"""How often the zeros are chosen anew, from t0 to t1."""
STATE_FILE = "pruning.safetensors"
"""What movement pruning needs to resume, in a checkpoint of the training."""


@dataclass(frozen=True)
class Schedule:
    """When which share of the weights is zero. steps: of the whole training. prune_to: the share at the end."""

    prune_to: float
    steps: int

    @property
    def begin(self) -> int:
        """The last step with all weights."""
        return int(BEGIN * self.steps)

    @property
    def end(self) -> int:
        """The first step with the final share."""
        return max(self.begin + 1, round(END * self.steps))

    def share(self, step: int) -> float:
        """The share of zeros after this many steps."""
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return self.prune_to * (1 - min(1.0, max(0.0, left)) ** 3)

    def is_due(self, step: int) -> bool:
        """Whether the zeros are chosen anew after this many steps."""
        every = max(1, (self.end - self.begin) // UPDATES)
        return step == self.end or (self.begin < step < self.end and (step - self.begin) % every == 0)


def prunable(model: PreTrainedModel, convolutions: bool = False) -> dict[str, nn.Parameter]:
    """Name -> weight of each linear layer but the head, of those that are trained.

    convolutions: and of the convolutions that make the frames, but the first one, which is small.
    """
    body: Any = model.base_model
    modules = [module for module in body.modules() if isinstance(module, nn.Linear)]
    if convolutions:
        modules += [layer.conv for layer in list(body.feature_extractor.conv_layers)[1:]]
    weights = {id(module.weight) for module in modules if module.weight.requires_grad}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in weights}


def sparsity(weights: dict[str, nn.Parameter]) -> float:
    """The share of zeros in all these weights."""
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    return zeros / sum(weight.numel() for weight in weights.values())


def smallest(values: Tensor, share: float) -> Tensor:
    """False for exactly `round(share * size)` of the smallest values, True for the others; bool, of the same shape."""
    mask = torch.ones(values.numel(), dtype=torch.bool, device=values.device)
    mask[values.flatten().topk(round(share * values.numel()), largest=False).indices] = False
    return mask.view_as(values)


class MagnitudePruning(TrainerCallback):
    """Prunes by magnitude. A training that stops early is pruned to the final share when it ends.

    weights: by name, see `prunable`. prune_to: the share of each of them that is zero in the end. Raises ValueError if
    that is not above 0 and below 1, or if there are no weights.
    """

    def __init__(self, weights: dict[str, nn.Parameter], prune_to: float) -> None:
        if not 0 < prune_to < 1:
            raise ValueError("--prune_to is a share of the weights, above 0 and below 1")
        if not weights:
            raise ValueError("--prune_to finds no weights that are trained")
        self.weights, self.prune_to = weights, prune_to
        self.masks: dict[str, Tensor] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The model is on its device, with its weights of the checkpoint that it resumes from, if there is one."""
        self.masks = {name: weight.detach() != 0 for name, weight in self.weights.items()}

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Zeros get no gradient, so that the optimizer does not gather a momentum for them."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.heed(name, weight.grad)
                weight.grad.mul_(self.masks[name])

    @torch.no_grad()
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Earlier gradients still move what is pruned: it becomes zero again after each step."""
        for name, weight in self.weights.items():
            weight.mul_(self.masks[name])
        schedule = Schedule(self.prune_to, state.max_steps)
        if schedule.is_due(state.global_step):
            self.prune(schedule.share(state.global_step))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Prune to the final share, if the training stopped before it was reached."""
        if state.global_step < Schedule(self.prune_to, state.max_steps).end:
            self.prune(self.prune_to)
        print(f"{sparsity(self.weights):.2%} of the weights of {len(self.weights)} layers are zero")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """TensorBoard shows the share of zeros beside the loss."""
        if logs is not None and "loss" in logs:
            logs["sparsity"] = sparsity(self.weights)

    def heed(self, name: str, gradient: Tensor) -> None:
        """Learn from the gradient of a weight, zeros included. Magnitudes need none."""

    @torch.no_grad()
    def prune(self, share: float) -> None:
        """Set this share of each weight to zero."""
        for name, weight in self.weights.items():
            self.masks[name] = smallest(weight.abs(), share)
            weight.mul_(self.masks[name])


class MovementPruning(MagnitudePruning):
    """Prunes by movement. Its checkpoints have `STATE_FILE`. Raises the errors of `MagnitudePruning`."""

    def __init__(self, weights: dict[str, nn.Parameter], prune_to: float) -> None:
        super().__init__(weights, prune_to)
        self.scores: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}  # what the weights were before they were left out

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Raises DataError if a checkpoint to resume from has no scores."""
        self.scores = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.values = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        if state.global_step == 0:
            return
        path = state_file(args, state)
        if not path.is_file():
            raise DataError(
                f"{path} is missing: delete this checkpoint to resume from the one before, or use --restart"
            )
        saved = load_file(path)
        for name, weight in self.weights.items():
            self.scores[name].copy_(saved[f"scores.{name}"])
            self.values[name].copy_(saved[f"values.{name}"])
            self.masks[name] = saved[f"masks.{name}"].to(weight.device)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        parts = {"scores": self.scores, "values": self.values, "masks": self.masks}
        tensors = {f"{part}.{name}": values for part, named in parts.items() for name, values in named.items()}
        path = state_file(args, state)
        unfinished = path.with_suffix(".tmp")
        save_file(tensors, unfinished)
        unfinished.replace(path)

    def heed(self, name: str, gradient: Tensor) -> None:
        weight, mask = self.weights[name], self.masks[name]
        self.values[name] = torch.where(mask, weight, self.values[name])
        finite = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)  # fp16 skips a step that overflows
        self.scores[name] -= finite * self.values[name]

    @torch.no_grad()
    def prune(self, share: float) -> None:
        for name, weight in self.weights.items():
            self.values[name] = torch.where(self.masks[name], weight, self.values[name])
            self.masks[name] = smallest(self.scores[name], share)
            weight.copy_(self.values[name] * self.masks[name])


def state_file(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the checkpoint of the current step has its `STATE_FILE`."""
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / STATE_FILE


def make_pruning(
    model: PreTrainedModel, prune_to: float, method: PruningMethod | None, convolutions: bool
) -> MagnitudePruning | None:
    """The callback that prunes a model to this share of zeros; None if that is 0.

    method: None is magnitude. convolutions: see `prunable`. Raises ValueError if the share is out of range, or 0
    although other options are set.
    """
    if prune_to == 0:
        if method is not None or convolutions:
            raise ValueError("--pruning and --prune_convolutions need --prune_to")
        return None
    classes = {"magnitude": MagnitudePruning, "movement": MovementPruning}
    return classes[method or "magnitude"](prunable(model, convolutions), prune_to)
