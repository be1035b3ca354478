"""What workers compute: the windows of one clip (a job), and those that a worker computes at once (a turn)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.models import Lanes
from app.recognizer import AnyRecognizer, Options, Window

BATCH_WINDOW_S = 1.0
"""Windows that are computed with others are no longer: longer ones are hardly computed faster together
(`scripts/tools/batch_gain.py`)."""


@dataclass(eq=False)
class Job:
    """The windows of one clip. `progressed` is called, in a worker's thread, when a window is heard or one failed.

    heard: by index, what was heard and not taken yet. spent_s: what the windows cost that the bulk lane has begun.
    """

    lanes: Lanes
    windows: Sequence[Window]
    options: Options
    progressed: Callable[[], object]
    costs_s: list[float] = field(init=False)
    heard: dict[int, Any] = field(default_factory=dict)
    failure: BaseException | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)
    next: int = 1  # of the windows in the bulk lane
    spent_s: float = 0.0
    dropped: bool = False  # nobody waits for it any more

    def __post_init__(self) -> None:
        recognizer = self.lanes.express
        self.costs_s = [recognizer.cost_s(len(window.samples) / recognizer.rate_hz) for window in self.windows]

    @property
    def later_s(self) -> float:
        """What the windows cost that the bulk lane has not begun."""
        return sum(self.costs_s[self.next :])

    def fail(self, failure: BaseException) -> None:
        """Tell the one who waits."""
        self.failure = failure
        self.progressed()


@dataclass(frozen=True)
class Turn:
    """The windows that a worker computes at once, each by its job and its index there, and with which recognizer.

    Their jobs have the same model and options.
    """

    parts: list[tuple[Job, int]]
    recognizer: AnyRecognizer

    @property
    def express(self) -> bool:
        """Whether it is of the express lane: then all are the first windows of their clips."""
        return self.parts[0][1] == 0

    @property
    def lanes(self) -> Lanes:
        """The model."""
        return self.parts[0][0].lanes

    @property
    def options(self) -> Options:
        """What was asked of the recognition."""
        return self.parts[0][0].options

    @property
    def windows(self) -> list[Window]:
        """The windows."""
        return [job.windows[index] for job, index in self.parts]

    @property
    def seconds(self) -> float:
        """Audio in all of them."""
        return sum(len(window.samples) for window in self.windows) / self.recognizer.rate_hz

    @property
    def cost_s(self) -> float:
        """What they cost."""
        return sum(job.costs_s[index] for job, index in self.parts)

    @property
    def audible_cost_s(self) -> float:
        """What those cost that are computed at all."""
        audible = self.recognizer.is_audible
        return sum(job.costs_s[index] for job, index in self.parts if audible(job.windows[index].samples))


def is_very_short(job: Job) -> bool:
    """Whether the first window of a clip is computed faster together with others."""
    return len(job.windows[0].samples) <= BATCH_WINDOW_S * job.lanes.express.rate_hz


def goes_with(job: Job, other: Job) -> bool:
    """Whether windows of two clips can be computed in one call."""
    return job.lanes is other.lanes and job.options == other.options
