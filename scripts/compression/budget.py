"""How many steps each training of a study gets, so that a budget of hours is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.compression.plan import Training

LEAST_SHARE = 0.25
"""Trainings are shortened down to this share of the wanted steps. If that is not enough, some are left out."""
MARGIN = 0.1
"""Share of the time that is kept free for evaluations, checkpoints and the starts of processes."""


@dataclass(frozen=True)
class Allotment:
    """steps: name of a training -> its steps. left_out: name -> reason. share: of the wanted steps."""

    steps: dict[str, int]
    left_out: dict[str, str]
    share: float


def wanted_steps(training: Training, steps: int) -> int:
    """The steps of a training if there is time enough. steps: those of a full one."""
    return max(1, round(steps * training.share))


def allot(
    trainings: Sequence[Training],
    steps: int,
    pace_s: Mapping[str, float],
    available_s: float | None,
    jobs: int,
    fixed: Mapping[str, int],
) -> Allotment:
    """Shorten all trainings by the same share; if that is not enough, leave out the last ones.

    trainings: the most important first. steps: of a full training. pace_s: name -> seconds of a step. available_s: wall
    time; None for no limit. jobs: trainings at once. fixed: name -> steps of the trainings that are done or begun.
    """
    found = dict(fixed)
    open_ones = [training for training in trainings if training.name not in fixed]
    left_out: dict[str, str] = {}
    if available_s is None:
        return Allotment(found | {one.name: wanted_steps(one, steps) for one in open_ones}, left_out, 1.0)
    while open_ones:
        needed_s = wall_time_s(open_ones, steps, pace_s, jobs)
        share = min(1.0, (1 - MARGIN) * max(available_s, 0.0) / needed_s) if needed_s else 1.0
        if share >= LEAST_SHARE:
            found |= {one.name: max(1, int(share * wanted_steps(one, steps))) for one in open_ones}
            return Allotment(found, left_out, share)
        last = open_ones.pop()
        left_out[last.name] = "the budget is too small"
    return Allotment(found, left_out, 0.0)


def wall_time_s(trainings: Sequence[Training], steps: int, pace_s: Mapping[str, float], jobs: int) -> float:
    """The time that trainings take, several at once. One that starts from another waits for it."""
    takes_s = {one.name: wanted_steps(one, steps) * pace_s[one.name] for one in trainings}
    chains_s = {one.name: takes_s[one.name] + takes_s.get(one.start, 0.0) for one in trainings}
    return max(sum(takes_s.values()) / jobs, *chains_s.values()) if takes_s else 0.0
