"""The trainer of distillation: the student and its teacher compute the same batch."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from scripts.exporting.squeezed_frames import squeeze_factor, squeezed
from scripts.training.batches import NO_TRANSCRIPT
from scripts.training.distillation import (
    DistillationOptions,
    HiddenProjections,
    ctc_per_letter,
    evenly_spaced,
    frame_divergence,
    frames_to_match,
    hidden_distance,
    is_valid,
)
from scripts.training.trainer import CtcTrainer

PROJECTIONS = "hidden_projections"
"""The attribute of the student, while it is trained, that has its `HiddenProjections`."""
PROJECTIONS_FILE = f"{PROJECTIONS}.safetensors"
"""Their weights in a checkpoint. They are no part of the model, so not in its own file."""


class DistillationTrainer(CtcTrainer):
    """Trains a CTC model with the loss of `scripts.training.distillation`, and logs the parts of that loss.

    teacher: on the same tokens and frames as the student; its weights are not trained, and it computes without dropout.
    A clip with the label `NO_TRANSCRIPT` has no CTC loss.
    """

    def __init__(self, *, teacher: PreTrainedModel, distillation: DistillationOptions, **options: Any) -> None:
        super().__init__(**options)
        self.teacher = teacher.to(self.args.device).eval().requires_grad_(False)  # type: ignore[arg-type]  # wrapped there
        self.distillation = distillation
        self._parts: dict[str, list[Tensor]] = defaultdict(list)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        options = self.distillation
        labels = inputs["labels"]
        audio = {name: values for name, values in inputs.items() if name != "labels"}
        student = model(**audio, output_hidden_states=options.hidden_weight > 0)
        with torch.no_grad():
            teacher = self.teacher(**audio, output_hidden_states=options.hidden_weight > 0)
        if student.logits.shape != teacher.logits.shape:
            raise RuntimeError(f"frames and tokens differ: {student.logits.shape[1:]}, {teacher.logits.shape[1:]}")
        config: Any = self.teacher.config
        counts = self.teacher._get_feat_extract_output_lengths(inputs["attention_mask"].sum(dim=1))
        valid = is_valid(counts, student.logits.shape[1])
        matched = frames_to_match(teacher.logits, valid, config.pad_token_id, options.blank_margin)
        transcribed = labels[:, 0] != NO_TRANSCRIPT
        parts = {
            "ctc": ctc_per_letter(
                student.logits[transcribed], counts[transcribed], labels[transcribed], config.pad_token_id
            ),
            "kl": frame_divergence(student.logits, teacher.logits, matched, options.temperature),
        }
        loss = options.alpha * parts["ctc"] + (1 - options.alpha) * parts["kl"]
        if options.hidden_weight:
            parts["hidden"] = hidden_distance(*self._hidden(model, student, teacher, valid))
            loss = loss + options.hidden_weight * parts["hidden"]
        for name, value in parts.items():
            self._parts[f"{'loss' if model.training else 'eval_loss'}_{name}"].append(value.detach())
        return (loss, {"loss": loss, "logits": student.logits}) if return_outputs else loss

    def _hidden(
        self, model: Any, student: Any, teacher: Any, valid: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """The outputs of the student's layers, and those of as many of the teacher's layers, evenly spaced.

        valid: frames of the clips, shape (clips, time), bool. If the layers of one of them are squeezed, or of both,
        the states are the means of as many frames as both have in common. Returns which of these are valid, too.
        """
        found = list(student.hidden_states[1:])  # the first is the input of the first layer
        wanted = teacher.hidden_states[1:]
        wanted = [wanted[index] for index in evenly_spaced(len(found), len(wanted))]
        ours, theirs = squeeze_factor(model.config), squeeze_factor(self.teacher.config)
        both = math.lcm(ours, theirs)
        found = [squeezed(states, both // ours) for states in found]
        wanted = [squeezed(states, both // theirs) for states in wanted]
        projections = getattr(model, PROJECTIONS, None)
        return found if projections is None else projections(found), wanted, valid[:, both - 1 :: both]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the means of the parts since they were last logged, beside the loss of which they are parts."""
        prefix = "eval_loss" if "eval_loss" in logs else "loss"
        if prefix in logs:
            for name in [name for name in self._parts if name.startswith(prefix)]:
                logs[name] = float(torch.stack(self._parts.pop(name)).mean())
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        assert isinstance(self.model, PreTrainedModel)
        weights = self.model.state_dict() if state_dict is None else state_dict
        own = {name: value for name, value in weights.items() if not name.startswith(f"{PROJECTIONS}.")}
        super()._save(output_dir, own)
        if hasattr(self.model, PROJECTIONS):
            folder = Path(output_dir or str(self.args.output_dir))
            save_file(self._projections().state_dict(), folder / PROJECTIONS_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[no-untyped-call]  # untyped there
        if hasattr(self.model, PROJECTIONS):
            self._projections().load_state_dict(load_file(Path(resume_from_checkpoint) / PROJECTIONS_FILE))

    def _projections(self) -> HiddenProjections:
        projections = getattr(self.model, PROJECTIONS)
        assert isinstance(projections, HiddenProjections)
        return projections
