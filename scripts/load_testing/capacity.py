"""How many users a service can take."""

from collections.abc import Callable
from dataclasses import dataclass

from scripts.load_testing.load_figures import LoadFigures

CAPACITY_STEP = 0.05
"""Capacity is searched until the next step would be less than this share of it."""


@dataclass(frozen=True)
class Step:
    """What came of a number of users."""

    users: int
    figures: LoadFigures

    def within(self, p95_limit_s: float) -> bool:
        """Whether everybody was answered, rightly, and 95 % of them in time."""
        figures = self.figures
        return bool(figures.answered) and not figures.failed and not figures.refused and figures.p95_s <= p95_limit_s


def find_capacity(
    measure: Callable[[int], LoadFigures], p95_limit_s: float, most_users: int
) -> tuple[list[Step], Step | None]:
    """Step the users up until their p95 passes the limit: by doubling, and then by halving what is left between.

    A refusal or a failure counts as passing too. Returns all steps in the order they were measured, and that with the
    most users within the limit; None if one user is too many.
    """
    steps: list[Step] = []

    def keeps(users: int) -> bool:
        steps.append(Step(users, measure(users)))
        return steps[-1].within(p95_limit_s)

    most, too_many = 0, 1
    while too_many <= most_users and keeps(too_many):
        most, too_many = too_many, max(too_many + 1, min(2 * too_many, most_users))
    while too_many <= most_users and too_many - most > max(1, CAPACITY_STEP * most):
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if keeps(middle) else (most, middle)
    return steps, next((step for step in steps if step.users == most), None)
