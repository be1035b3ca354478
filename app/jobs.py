"""What the scheduler works on: the windows of one clip (a job), and the windows of one engine call (a batch)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.models import Lanes
from app.recognizer import AnyRecognizer, Options, Window

BATCH_WINDOW_S = 1.0
"""Longest window that shares an engine call with others. Longer ones gain almost nothing from it (measured with
`scripts/tools/batch_gain.py`)."""


@dataclass(eq=False)
class Job:
    """The windows of one clip.

    on_progress: called in a worker's thread when an output is ready or a window failed. costs_s: the cost of each
    window. outputs: by window index, those that are ready and not yet taken. spans: start and end of each engine call
    (`time.monotonic`). next: index of the next window in the bulk lane. spent_s: cost of the windows that the bulk lane
    has started. dropped: the caller no longer waits for it. urgent, draft: as `Scheduler.compute` says.
    """

    lanes: Lanes
    windows: Sequence[Window]
    options: Options
    on_progress: Callable[[], object]
    costs_s: list[float] = field(init=False)
    outputs: dict[int, Any] = field(default_factory=dict)
    failure: BaseException | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)
    next: int = 1
    spent_s: float = 0.0
    dropped: bool = False
    urgent: bool = False
    draft: bool = False

    def __post_init__(self) -> None:
        recognizer = self.lanes.express
        self.costs_s = [recognizer.cost_s(len(window.samples) / recognizer.rate_hz) for window in self.windows]

    @property
    def remaining_cost_s(self) -> float:
        """Cost of the windows that the bulk lane has not started."""
        return sum(self.costs_s[self.next :])

    def fail(self, failure: BaseException) -> None:
        """Pass the failure to the caller that waits for this job."""
        self.failure = failure
        self.on_progress()


@dataclass(frozen=True)
class Batch:
    """The windows of one engine call, each as its job and its index there, and the recognizer that computes them.

    All jobs of a batch have the same model and options.
    """

    parts: list[tuple[Job, int]]
    recognizer: AnyRecognizer

    @property
    def express(self) -> bool:
        """Whether it belongs to the express lane, which computes only the first window of each clip, and no drafts."""
        job, index = self.parts[0]
        return index == 0 and not job.draft

    @property
    def lanes(self) -> Lanes:
        """The model's recognizers."""
        return self.parts[0][0].lanes

    @property
    def options(self) -> Options:
        """The options that the jobs share."""
        return self.parts[0][0].options

    def is_dropped(self) -> bool:
        """Whether no caller waits for it any more."""
        return all(job.dropped for job, _ in self.parts)

    @property
    def windows(self) -> list[Window]:
        """The windows, in the order of `parts`."""
        return [job.windows[index] for job, index in self.parts]

    @property
    def audio_s(self) -> float:
        """Duration of all windows together, in seconds."""
        return sum(len(window.samples) for window in self.windows) / self.recognizer.rate_hz

    @property
    def cost_s(self) -> float:
        """Cost of all windows together."""
        return sum(job.costs_s[index] for job, index in self.parts)

    @property
    def audible_cost_s(self) -> float:
        """Cost of the windows that are not silent: the engine skips silence."""
        audible = self.recognizer.is_audible
        return sum(job.costs_s[index] for job, index in self.parts if audible(job.windows[index].samples))


def is_very_short(job: Job) -> bool:
    """Whether the first window of a clip is computed faster together with others."""
    return len(job.windows[0].samples) <= BATCH_WINDOW_S * job.lanes.express.rate_hz


def can_share_batch(job: Job, other: Job) -> bool:
    """Whether windows of two clips can be computed in one engine call."""
    return job.lanes is other.lanes and job.options == other.options
