"""The losses with which a CTC model, the student, learns from another one, the teacher.

    loss = alpha * CTC + (1 - alpha) * T^2 * KL(teacher || student) + hidden_weight * hidden

CTC is that of ordinary training, per letter. The others are means over the frames of the clips, without padding:

- KL is the divergence of the student's token probabilities from the teacher's, both softened by the temperature T
  (G. Hinton et al., "Distilling the knowledge in a neural network", 2015; T^2 keeps the size of its gradients).
- hidden is the distance between hidden states, relative to the variance of the teacher's.

**Blanks.** In most frames, a CTC model outputs a blank with a probability near 1. Those that are far from any letter
teach little, and many of them in the mean leave little weight for the letters. If all blanks are left out, the student
does not learn where to be silent. By default, all frames count. With a `blank_margin`, only the frames with the
teacher's letters count, and that many blank frames on both sides of each, after B. Hilmes et al., "Analyzing the
importance of blank for CTC-based knowledge distillation", 2025. A clip in which the teacher hears no letters has all of
its frames.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DistillationOptions:
    """Options of distillation; without a teacher, there is none.

    teacher: hub id or checkpoint folder of a CTC model. temperature: above 0; larger ones flatten the probabilities.
    alpha: share of the CTC loss, from 0 to 1, which leaves 1 - alpha for the KL. hidden_weight: weight of the distance
    between hidden states; 0 for none. blank_margin: blank frames on each side of a letter that count; None for all.

    Raises ValueError if a number is out of range, or if an option is set without a teacher.
    """

    teacher: str | None = None
    temperature: float = 1.0
    alpha: float = 0.5
    hidden_weight: float = 1.0
    blank_margin: int | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError("--temperature is above 0")
        if not 0 <= self.alpha <= 1:
            raise ValueError("--alpha is a share of the loss, from 0 to 1")
        if self.hidden_weight < 0:
            raise ValueError("--hidden_weight is a weight, 0 or above")
        if self.blank_margin is not None and self.blank_margin < 0:
            raise ValueError("--blank_margin is a number of frames, 0 or above")
        if self.teacher is None and any(getattr(self, field.name) != field.default for field in fields(self)):
            raise ValueError("--temperature, --alpha, --hidden_weight and --blank_margin need a --teacher")


def ctc_per_letter(logits: Tensor, frames: Tensor, labels: Tensor, blank: int) -> Tensor:
    """The CTC loss of a batch, divided by its number of letters; 0 for a batch without clips.

    logits: shape (clips, time, tokens). frames: number of valid frames of each clip, shape (clips,). labels: shape
    (clips, letters), int64; negative values are padding. Returns a float32 scalar.
    """
    if not len(logits):
        return logits.new_zeros((), dtype=torch.float32)
    letters = labels >= 0
    with torch.backends.cudnn.flags(enabled=False):  # as in transformers
        loss = functional.ctc_loss(
            logits.float().log_softmax(dim=-1).transpose(0, 1),
            labels[letters],
            frames,
            letters.sum(dim=1),
            blank=blank,
            reduction="sum",
            zero_infinity=True,
        )
    return loss / letters.sum().clamp(min=1)


def is_valid(frames: Tensor, time: int) -> Tensor:
    """True for the frames of a clip, False for its padding: (clips,) int64 -> (clips, time) bool."""
    return torch.arange(time, device=frames.device) < frames[:, None]


def frames_to_match(teacher: Tensor, valid: Tensor, blank: int, margin: int | None) -> Tensor:
    """The frames whose probabilities the student learns: (clips, time) bool.

    teacher: logits, shape (clips, time, tokens). valid: shape (clips, time), bool. margin: see `DistillationOptions`.
    """
    if margin is None:
        return valid
    letters = (teacher.argmax(dim=-1) != blank) & valid
    near = functional.max_pool1d(letters[:, None].float(), 2 * margin + 1, stride=1, padding=margin)[:, 0] > 0
    return valid & (near | ~letters.any(dim=1, keepdim=True))


def frame_divergence(student: Tensor, teacher: Tensor, frames: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of softmax(logits / T), mean over the chosen frames, in nats; a float32 scalar.

    student, teacher: logits, shape (clips, time, tokens). frames: those that count, shape (clips, time), bool.
    """
    wanted = (teacher[frames].float() / temperature).log_softmax(dim=-1)
    found = (student[frames].float() / temperature).log_softmax(dim=-1)
    return temperature**2 * functional.kl_div(found, wanted, reduction="batchmean", log_target=True)


def hidden_distance(student: list[Tensor], teacher: list[Tensor], valid: Tensor) -> Tensor:
    """Mean squared difference of hidden states in relation to the teacher's variance, mean over layers.

    student, teacher: for each layer, shape (clips, time, width). valid: shape (clips, time), bool. 0 is equal; 1 is as
    far as the mean of the teacher's states, over the frames, is from them. Returns a float32 scalar.
    """
    distances = []
    for found, wanted in zip(student, teacher, strict=True):
        values = wanted[valid].float()
        variance = values.var(dim=0, unbiased=False).mean().clamp(min=torch.finfo(torch.float32).tiny)
        distances.append(functional.mse_loss(found[valid].float(), values) / variance)
    return torch.stack(distances).mean()


def evenly_spaced(count: int, total: int) -> list[int]:
    """`count` indices of `total` layers, evenly spaced, the first and the last among them; one alone is the last."""
    if count == 1:
        return [total - 1]
    return [round(index * (total - 1) / (count - 1)) for index in range(count)]


class HiddenProjections(nn.ModuleList):
    """A linear layer for each layer of a student, from its width to the teacher's. Only training needs them."""

    def __init__(self, layers: int, student_width: int, teacher_width: int) -> None:
        super().__init__(nn.Linear(student_width, teacher_width) for _ in range(layers))

    def forward(self, states: list[Tensor]) -> list[Tensor]:
        """Hidden states of each layer, shape (clips, time, width) -> the same in the teacher's width."""
        return [projection(state) for projection, state in zip(self, states, strict=True)]
