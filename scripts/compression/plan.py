"""What a study trains, and which points it makes of that: an artifact each, that is a row of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scripts.compression.study_options import RowGroup, StudyOptions

Role = Literal["teacher", "candidate", "control", "seed", "quantization", "pruning"]
TEACHER = "teacher"
"""The name of the point that is the teacher itself."""
DEFAULT_BITS = 7


@dataclass(frozen=True)
class Training:
    """One training of a study.

    shape: label of the student's shape; empty for the teacher itself. objective: with the teacher's outputs ("distil")
    or with texts alone ("plain"). share: of the steps of a full training. start: name of the training that it goes on
    from; empty for the weights that the student gets from the teacher. pruning: method, or empty. prune_to: share of
    zeros. quantize_bits: bits of the rounding in training; 0 for none.
    """

    name: str
    shape: str
    objective: Literal["distil", "plain"]
    share: float = 1.0
    seed: int = 0
    start: str = ""
    pruning: str = ""
    prune_to: float = 0.0
    quantize_bits: int = 0


@dataclass(frozen=True)
class Point:
    """One artifact of a study.

    training: its name; empty for the teacher itself. weight_bits: of the INT8 file. what: its description.
    """

    name: str
    training: str
    role: Role
    what: str
    weight_bits: int = DEFAULT_BITS


@dataclass(frozen=True)
class Plan:
    """All trainings and all points, the most important first. A training stands behind the one that it starts from.

    focus: label of the shape that has the controls. candidates: labels of all shapes.
    """

    focus: str
    candidates: tuple[str, ...]
    trainings: tuple[Training, ...]
    points: tuple[Point, ...]

    def training(self, name: str) -> Training:
        """The training of this name."""
        return next(training for training in self.trainings if training.name == name)


def make_plan(shapes: Sequence[str], focus: str, options: StudyOptions) -> Plan:
    """The plan for these shapes: a candidate for each, and the rows that belong to the focus."""
    trainings = [Training(focus, focus, "distil")]
    points = [
        Point(TEACHER, "", "teacher", "the teacher"),
        Point(focus, focus, "candidate", "student, distilled"),
    ]

    def add(training: Training, role: Role, what: str, bits: int = DEFAULT_BITS) -> None:
        trainings.append(training)
        points.append(Point(training.name, training.name, role, what, bits))

    groups: set[RowGroup] = set(options.rows)
    plain = Training(f"{focus}-plain", focus, "plain")
    if "controls" in groups:
        add(plain, "control", "the same student without distillation")
    for shape in shapes:
        if shape != focus:
            add(Training(shape, shape, "distil"), "candidate", "student, distilled")
    if "controls" in groups:
        add(Training(f"{TEACHER}-plain", "", "plain"), "control", "the teacher, as many more steps of fine-tuning")
    if "seeds" in groups:
        for seed in options.seeds:
            add(Training(f"{focus}-seed{seed}", focus, "distil", seed=seed), "seed", f"the same with seed {seed}")

    tail = options.tail_share
    longer = Training(f"{focus}-longer", focus, "distil", tail, start=focus)
    if {"quantization", "pruning"} & groups:
        add(longer, "control", "distilled longer, as the rows of quantization and pruning are")
    if "quantization" in groups:
        for bits in options.bits:
            if bits != DEFAULT_BITS:  # with those, it is the point `longer` itself
                name, what = f"{longer.name}-{bits}bit", f"{bits}-bit weights, after training"
                points.append(Point(name, longer.name, "quantization", what, bits))
            rounded = Training(f"{focus}-trained{bits}bit", focus, "distil", tail, start=focus, quantize_bits=bits)
            add(rounded, "quantization", f"{bits}-bit weights, in training", bits)
    if "pruning" in groups:
        for method in ("magnitude", "movement"):
            for sparsity in options.sparsities:
                name = f"{focus}-{method}{100 * sparsity:g}"
                pruned = Training(name, focus, "distil", tail, start=focus, pruning=method, prune_to=sparsity)
                add(pruned, "pruning", f"{sparsity:.0%} zeros by {method}")
    return Plan(focus, tuple(shapes), tuple(trainings), tuple(points))
