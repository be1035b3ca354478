"""Which shapes a study tries: a grid below the teacher, of which measured time leaves the useful ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.training.students import Shape

LAYER_SHARES = (1, 2 / 3, 1 / 2, 1 / 3)
WIDTH_SHARES = (1, 1 / 2)
SQUEEZES = (1, 2)
FOCUS_SPEED = 2.0
"""The controls belong to the largest shape that is at least this many times as fast as the teacher."""


@dataclass(frozen=True)
class Candidate:
    """A shape before any training. label: of the shape. parameters: their number. time_s: median time of a clip."""

    label: str
    parameters: int
    time_s: float

    @property
    def squeeze(self) -> int:
        """The factor by which its frame rate is lower."""
        return Shape.parse(self.label).squeeze


def grid(config: Any) -> list[str]:
    """Labels of all shapes of the grid, the teacher's own not among them. config: of the teacher (transformers)."""
    layers, widths = int(config.num_hidden_layers), max(config.conv_dim)
    units = int(config.intermediate_size)
    found = []
    for squeeze in SQUEEZES:
        for share in LAYER_SHARES:
            for width in WIDTH_SHARES:
                kept = max(1, round(share * layers))
                shape = Shape(
                    layers=kept if kept < layers else None,
                    conv_channels=int(width * widths) if width < 1 else None,
                    squeeze=squeeze,
                )
                found.append(shape)
                if share == 1 / 2:
                    found.append(Shape(shape.layers, int(units / 2), shape.conv_channels, squeeze))
    return list(dict.fromkeys(shape.label for shape in found if shape != Shape()))


def dominated(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Label of each candidate that another one makes useless -> label of that one.

    The other one takes at most as much time, and has at least as many parameters and as many frames per second. So a
    smaller model that is slower is dropped; one that is faster is not, because only training shows what it can do. The
    frames count beside the parameters, which work on each of them.
    """
    found = {}
    for one in candidates:
        for other in candidates:
            better = other.time_s <= one.time_s and other.parameters >= one.parameters and other.squeeze <= one.squeeze
            equal = (other.time_s, other.parameters, other.squeeze) == (one.time_s, one.parameters, one.squeeze)
            if better and not equal:
                found[one.label] = other.label
                break
    return found


def spread(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """At most `most` candidates: the slowest, the fastest, and others evenly between them in the logarithm of time."""
    ordered = sorted(candidates, key=lambda one: one.time_s, reverse=True)
    if len(ordered) <= most:
        return ordered
    if most == 1:
        return [ordered[len(ordered) // 2]]
    first, last = math.log(ordered[0].time_s), math.log(ordered[-1].time_s)
    chosen: list[Candidate] = []
    for index in range(most):
        goal = first + (last - first) * index / (most - 1)
        free = [one for one in ordered if one not in chosen]
        chosen.append(min(free, key=lambda one: abs(math.log(one.time_s) - goal)))
    return sorted(chosen, key=lambda one: one.time_s, reverse=True)


def focus_of(candidates: Sequence[Candidate], teacher_s: float) -> str:
    """The label of the shape that has the controls: the slowest that is `FOCUS_SPEED` times as fast as the teacher.

    If there is none, the fastest. The choice needs no error rates, so the evaluation sets do not influence it.
    """
    fast = [one for one in candidates if teacher_s / one.time_s >= FOCUS_SPEED]
    if fast:
        return max(fast, key=lambda one: one.time_s).label
    return min(candidates, key=lambda one: one.time_s).label
