"""What the project has to show, and the table that reports print of it."""

from dataclasses import dataclass

GOALS_HEAD = ["what has to be shown", "measured", "goal", ""]


@dataclass(frozen=True)
class Goal:
    """One thing that the project has to show: the measured value, and the bound that it must not pass.

    value and bound are in `unit` ("" for a ratio). at_least: the bound is a lower one.
    """

    claim: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the value keeps to the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def row(self, missed: str = "**missed**") -> list[str]:
        """Cells below `GOALS_HEAD`. missed: what is said of a goal that is not reached."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.bound:g} {self.unit}".strip()
        return [self.claim, f"{self.value:.3g} {self.unit}".strip(), bound, "reached" if self.reached else missed]
