"""Find the number of users that a service can handle."""

from collections.abc import Callable
from dataclasses import dataclass

from scripts.load_testing.load_figures import LoadFigures

CAPACITY_STEP = 0.05
"""The search ends when the next step would be less than this share of the capacity."""


@dataclass(frozen=True)
class Step:
    """The figures for one number of users."""

    users: int
    figures: LoadFigures

    def within(self, p95_limit_s: float) -> bool:
        """Whether every request was answered correctly, and 95 % of them within the limit."""
        figures = self.figures
        return bool(figures.answered) and not figures.failed and not figures.refused and figures.p95_s <= p95_limit_s


def find_capacity(
    measure: Callable[[int], LoadFigures], p95_limit_s: float, most_users: int
) -> tuple[list[Step], Step | None]:
    """Find the largest number of users whose p95 is within the limit: by doubling, then by bisection.

    A refusal or a failure counts as exceeding the limit. Returns all steps in the order in which they were measured,
    and the step with the most users within the limit; None if a single user exceeds it.
    """
    steps: list[Step] = []

    def is_within(users: int) -> bool:
        steps.append(Step(users, measure(users)))
        return steps[-1].within(p95_limit_s)

    most, too_many = 0, 1
    while too_many <= most_users and is_within(too_many):
        most, too_many = too_many, max(too_many + 1, min(2 * too_many, most_users))
    while too_many <= most_users and too_many - most > max(1, CAPACITY_STEP * most):
        middle = (most + too_many) // 2
        if is_within(middle):
            most = middle
        else:
            too_many = middle
    return steps, next((step for step in steps if step.users == most), None)
