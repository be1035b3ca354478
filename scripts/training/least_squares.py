"""Least squares of linear layers: new weights from sums over frames, and which inputs matter least for the outputs."""

from typing import Self

import torch
from torch import Tensor

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the penalty on changes, in units of the mean variance of an input."""
DEFAULT_RIDGE = 1e-2
"""That of the choice of inputs, and of sums of too few clips."""
HELD_OUT_EVERY = 4
"""Each clip of this number is left out at first, to choose the ridge by it."""
COMPACT_EVERY = 64
"""The matrices are brought up to date, without the removed inputs, after so many steps, which saves time."""


class LeastSquares:
    """Finds the change of a linear layer that takes its outputs to other ones, from sums over frames.

    With inputs x and the missing outputs y (wanted ones less those of the layer), it minimizes the sum over frames of
    |y - D x - d|^2 + r |D|^2, where D is the change of the weights and d that of the bias: D' = (C + r)^-1 X, with the
    (co)variances C of the inputs and X of inputs and missing outputs. The ridge r is the one of `RIDGES` with the least
    error on clips that it was not solved on. If none of them is better than no change, nothing changes.

    inputs, outputs: number of each. bias: whether the layer has one. group: number of neighbouring inputs that are kept
    or removed together, such as the taps of a channel.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, group: int = 1) -> None:
        self._group = group
        self._clips = 0
        self._solved, self._held_out = (_Sums(inputs, outputs, bias) for _ in range(2))

    def add(self, inputs: Tensor, missing: Tensor) -> None:
        """Add the frames of a clip. inputs: shape (frames, inputs), missing: (frames, outputs), both float."""
        self._clips += 1
        (self._solved if self._clips % HELD_OUT_EVERY else self._held_out).add(inputs, missing)

    def change(self) -> tuple[Tensor, Tensor]:
        """The changes of the weights, shape (outputs, inputs), and of the bias, shape (outputs,), float64.

        Without a bias, its change is zero.
        """
        ridge = DEFAULT_RIDGE
        if self._held_out.frames:
            errors = {one: self._held_out.error(*self._solved.change(one)) for one in RIDGES}
            ridge = min(errors, key=errors.__getitem__)
            if errors[ridge] >= self._held_out.error(*self._solved.no_change()):
                return self._solved.no_change()
        return (self._solved + self._held_out).change(ridge)

    def most_important(self, weight: Tensor, count: int) -> Tensor:
        """Indices of the groups of inputs to keep, ascending, shape (count,), int64.

        One group after the other is removed: that whose removal increases the squared error least, if the weights of
        all others adapt to it. That is W_g' (G_gg)^-1 W_g for its weights W_g and the part G_gg of the inverse G of C
        (B. Hassibi, D. Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", 1993; for groups:
        E. Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023). weight: of the layer,
        shape (outputs, inputs).
        """
        group = self._group
        squares, products = (self._solved + self._held_out).moments(DEFAULT_RIDGE)
        weights = weight.T.to(squares) + torch.linalg.solve(squares, products)
        inverse = torch.linalg.inv(squares)
        remaining = torch.arange(len(squares) // group)
        while len(remaining) > count:
            steps = min(COMPACT_EVERY, len(remaining) - count)
            removed = torch.zeros(len(remaining), dtype=torch.bool)
            blocks = _diagonal_blocks(inverse, group)
            # Of the present inverse, `inverse - gains @ rows`, each step needs the rows of one group and the blocks.
            gains, rows = (inverse.new_zeros(len(inverse), steps * group) for _ in range(2))
            for step in range(steps):
                usable = blocks.clone()
                usable[removed] = torch.eye(group, dtype=inverse.dtype)
                parts = weights.view(len(remaining), group, -1)
                errors = (_solve_blocks(usable, parts) * parts).sum(dim=(1, 2))
                errors[removed] = torch.inf
                least = int(errors.argmin())
                of_least = slice(least * group, (least + 1) * group)
                row = inverse[of_least] - gains[of_least, : step * group] @ rows[:, : step * group].T
                gain = _solve_blocks(usable[least], row).T
                weights -= gain @ weights[of_least]
                blocks -= gain.view(-1, group, group) @ row.T.reshape(-1, group, group).transpose(1, 2)
                here = slice(step * group, (step + 1) * group)
                gains[:, here], rows[:, here] = gain, row.T
                removed[least] = True
            kept = (~removed).repeat_interleave(group)
            inverse = inverse[kept][:, kept] - gains[kept] @ rows[kept].T
            weights = weights[kept]
            remaining = remaining[~removed]
        return remaining


class _Sums:
    """Sums over frames; arguments as those of `LeastSquares`."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        self.bias = bias
        self.frames = 0
        self.squares = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.products = torch.zeros(inputs, outputs, dtype=torch.float64)
        self.inputs = torch.zeros(inputs, dtype=torch.float64)
        self.missing = torch.zeros(outputs, dtype=torch.float64)

    def add(self, inputs: Tensor, missing: Tensor) -> None:
        """Add frames, as in `LeastSquares.add`."""
        self.frames += len(inputs)
        self.squares += (inputs.T @ inputs).cpu()
        self.products += (inputs.T @ missing).cpu()
        self.inputs += inputs.sum(dim=0).cpu()
        self.missing += missing.sum(dim=0).cpu()

    def __add__(self, other: Self) -> "_Sums":
        total = _Sums(len(self.inputs), len(self.missing), self.bias)
        for name in ("frames", "squares", "products", "inputs", "missing"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        return total

    def moments(self, ridge: float) -> tuple[Tensor, Tensor]:
        """(Co)variances of the inputs, with the ridge, and of inputs and missing outputs."""
        frames = max(self.frames, 1)
        squares, products = self.squares / frames, self.products / frames
        if self.bias:
            mean = self.inputs / frames
            squares = squares - torch.outer(mean, mean)
            products = products - torch.outer(mean, self.missing / frames)
        penalty = ridge * float(squares.diagonal().mean()) or 1.0
        return squares + penalty * torch.eye(len(squares), dtype=squares.dtype), products

    def change(self, ridge: float) -> tuple[Tensor, Tensor]:
        """The changes of weights and bias with this ridge."""
        weight = torch.linalg.solve(*self.moments(ridge)).T
        bias = torch.zeros_like(self.missing)
        if self.bias:
            bias = (self.missing - weight @ self.inputs) / max(self.frames, 1)
        return weight, bias

    def no_change(self) -> tuple[Tensor, Tensor]:
        """Changes of zero."""
        return torch.zeros_like(self.products.T), torch.zeros_like(self.missing)

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """The squared error that these changes leave, less that without them."""
        changed = weight @ self.squares + torch.outer(bias, self.inputs)
        error = (weight * (changed - 2 * self.products.T)).sum() + bias @ (weight @ self.inputs)
        return float(error + self.frames * bias @ bias - 2 * bias @ self.missing)


def _diagonal_blocks(matrix: Tensor, group: int) -> Tensor:
    """The blocks on the diagonal, a copy. matrix: shape (n * group, n * group). Returns (n, group, group)."""
    count = len(matrix) // group
    blocks = matrix.view(count, group, count, group).diagonal(dim1=0, dim2=2)
    return blocks.permute(2, 0, 1).clone()


def _solve_blocks(blocks: Tensor, values: Tensor) -> Tensor:
    """`torch.linalg.solve`, which calls LAPACK for each block: a division is much faster for blocks of one number.

    blocks: shape (..., group, group). values: shape (..., group, n). Returns the shape of the values.
    """
    return values / blocks if blocks.shape[-1] == 1 else torch.linalg.solve(blocks, values)
