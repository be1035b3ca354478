"""Least squares of linear layers: new weights from sums over frames, and which inputs matter least for the outputs."""

import torch
from torch import Tensor

RIDGE = 1e-3
"""Weight of the penalty on changes, in units of the mean variance of an input."""
COMPACT_EVERY = 64
"""Removed inputs are taken out of the matrices after so many steps, which saves time."""


class LeastSquares:
    """Finds the change of a linear layer that takes its outputs to other ones, from sums over frames.

    With inputs x and the missing outputs y (wanted ones less those of the layer), it minimizes the sum over frames of
    |y - D x - d|^2 + r |D|^2, where D is the change of the weights and d that of the bias: D' = (C + r)^-1 X, with the
    (co)variances C of the inputs and X of inputs and missing outputs. So nothing changes if nothing is missing.

    inputs, outputs: number of each. bias: whether the layer has one. group: number of neighbouring inputs that are kept
    or removed together, such as the taps of a channel. ridge: see `RIDGE`.
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, group: int = 1, ridge: float = RIDGE) -> None:
        self._group, self._ridge, self._bias = group, ridge, bias
        self._frames = 0.0
        self._squares = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._products = torch.zeros(inputs, outputs, dtype=torch.float64)
        self._inputs = torch.zeros(inputs, dtype=torch.float64)
        self._missing = torch.zeros(outputs, dtype=torch.float64)

    def add(self, inputs: Tensor, missing: Tensor) -> None:
        """Add frames. inputs: shape (frames, inputs), missing: (frames, outputs), both float."""
        self._frames += len(inputs)
        self._squares += (inputs.T @ inputs).cpu()
        self._products += (inputs.T @ missing).cpu()
        self._inputs += inputs.sum(dim=0).cpu()
        self._missing += missing.sum(dim=0).cpu()

    def change(self) -> tuple[Tensor, Tensor]:
        """The changes of the weights, shape (outputs, inputs), and of the bias, shape (outputs,), float64.

        Without a bias, its change is zero.
        """
        squares, products = self._moments()
        weight = torch.linalg.solve(squares, products).T
        bias = torch.zeros_like(self._missing)
        if self._bias:
            bias = (self._missing - weight @ self._inputs) / self._frames
        return weight, bias

    def most_important(self, weight: Tensor, count: int) -> Tensor:
        """Indices of the groups of inputs to keep, ascending, shape (count,), int64.

        One group after the other is removed: that whose removal increases the squared error least, if the weights of
        all others adapt to it. That is W_g' (G_gg)^-1 W_g for its weights W_g and the part G_gg of the inverse G of C
        (B. Hassibi, D. Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon", 1993; for groups:
        E. Kurtic et al., "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023). weight: of the layer,
        shape (outputs, inputs).
        """
        group = self._group
        squares, products = self._moments()
        weights = weight.T.to(squares) + torch.linalg.solve(squares, products)
        inverse = torch.linalg.inv(squares)
        remaining = torch.arange(len(squares) // group)
        while len(remaining) > count:
            steps = min(COMPACT_EVERY, len(remaining) - count)
            removed = torch.zeros(len(remaining), dtype=torch.bool)
            for _ in range(steps):
                blocks = _diagonal_blocks(inverse, group)
                blocks[removed] = torch.eye(group, dtype=inverse.dtype)
                parts = weights.view(len(remaining), group, -1)
                errors = (torch.linalg.solve(blocks, parts) * parts).sum(dim=(1, 2))
                errors[removed] = torch.inf
                least = int(errors.argmin())
                rows = slice(least * group, (least + 1) * group)
                gain = torch.linalg.solve(blocks[least], inverse[rows]).T
                weights -= gain @ weights[rows]
                inverse -= gain @ inverse[rows]
                removed[least] = True
            kept = (~removed).repeat_interleave(group)
            weights, inverse = weights[kept], inverse[kept][:, kept]
            remaining = remaining[~removed]
        return remaining

    def _moments(self) -> tuple[Tensor, Tensor]:
        """(Co)variances of the inputs, with the ridge, and of inputs and missing outputs."""
        squares, products = self._squares / self._frames, self._products / self._frames
        if self._bias:
            mean = self._inputs / self._frames
            squares = squares - torch.outer(mean, mean)
            products = products - torch.outer(mean, self._missing / self._frames)
        penalty = self._ridge * float(squares.diagonal().mean()) or 1.0
        return squares + penalty * torch.eye(len(squares), dtype=squares.dtype), products


def _diagonal_blocks(matrix: Tensor, group: int) -> Tensor:
    """The blocks on the diagonal, a copy. matrix: shape (n * group, n * group). Returns (n, group, group)."""
    count = len(matrix) // group
    blocks = matrix.view(count, group, count, group).diagonal(dim1=0, dim2=2)
    return blocks.permute(2, 0, 1).clone()
