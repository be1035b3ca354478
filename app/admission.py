"""Who is let in: a bound on the sound that waits to be answered, and on the bodies that are read at a time.

The bound is in seconds of sound, for a request may be a word or two hours. What does not fit is refused at once, with
the time after which it is worth trying again: taken in, it would only time out later, having cost others their time.

A part of the queue is kept for short clips: what long ones have beyond their first window may fill the rest only, so
that hours that are being transcribed close the service to nobody but other long clips.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import STOPPING, NotReady, Overloaded

HEADROOM = 0.8
"""Share of the time left until a deadline that the expected wait may fill; the rest is for what nobody expected."""
LATER_SHARE = 0.75
"""Of the queue, for sound that is not in the first window of its clip."""
RETRY_AFTER_MIN_S, RETRY_AFTER_MAX_S = 1, 120


class Admission:
    """Counts what was let in and is not answered. May be used from several threads.

    max_queue_s: seconds of audio at most; a clip that is longer is let in when nothing else is. window_s: what the
    first window of a clip holds. max_uploads: bodies that are read at a time. speed: seconds of audio computed per
    second. wait_s: seconds until a clip of so many seconds, let in now, would be answered. bulk_wait_s: seconds until
    the first of the long clips has been computed. refused: called with the seconds of audio that were decoded and not
    let in.
    """

    def __init__(
        self,
        max_queue_s: float,
        window_s: float,
        max_uploads: int,
        speed: Callable[[], float],
        wait_s: Callable[[float], float],
        bulk_wait_s: Callable[[], float] = lambda: 0.0,
        refused: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.max_queue_s = max_queue_s
        self._window_s = window_s
        self._max_uploads = max_uploads
        self._speed = speed
        self._wait_s = wait_s
        self._bulk_wait_s = bulk_wait_s
        self.refused = refused
        self._lock = threading.Lock()
        self._charged: set[Place] = set()
        self._queued_s = 0.0
        self._later_s = 0.0
        self._closed = False
        self.uploads = 0
        self.requests = 0

    @property
    def queued_s(self) -> float:
        """Seconds of sound that were let in and are not answered."""
        return self._queued_s

    def close(self) -> None:
        """Let nobody in from now on; those who are in stay."""
        self._closed = True

    @contextmanager
    def place(self, deadline: float = math.inf) -> Iterator["Place"]:
        """A place for one request, until it is answered. deadline: on the clock of `time.monotonic`.

        Raises NotReady when closed, Overloaded when the queue is full, or so long that not even the shortest clip would
        be answered by its deadline.
        """
        if self._closed:
            raise NotReady(STOPPING)
        if self._backlog_s >= self.max_queue_s:
            raise self._overloaded("too much sound is waiting already", self._backlog_s)
        place = Place(self, deadline)
        place.check_wait(0.0)
        self.requests += 1
        try:
            yield place
        finally:
            self.requests -= 1
            with self._lock:
                self._charged.discard(place)
                self._queued_s -= place.charged_s
                self._later_s -= self._later_of(place.charged_s)
                if not self._charged:
                    self._queued_s = self._later_s = 0.0  # what rounding left

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """While a body is read. Raises Overloaded if as many are read as may be."""
        if self.uploads >= self._max_uploads:
            raise Overloaded("too many uploads at a time; try again later", uploads=self.uploads)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    def charge(self, place: "Place", seconds: float) -> None:
        """Count `seconds` more of sound to a place. Raises Overloaded if that is more than the queue takes."""
        with self._lock:
            later_s = self._later_of(place.charged_s + seconds)
            queued_s = (self._queued_s if later_s else self._backlog_s) + seconds
            if queued_s > self.max_queue_s and not self._alone(place):
                self.refused(place.charged_s + seconds)
                raise self._overloaded("there is no room for so much sound now", queued_s, long=later_s > 0)
            self._charged.add(place)
            self._queued_s += seconds
            self._later_s += later_s - self._later_of(place.charged_s)
            place.charged_s += seconds

    def alone(self, place: "Place") -> bool:
        """Whether no other request has sound in the queue."""
        with self._lock:
            return self._alone(place)

    def _alone(self, place: "Place") -> bool:
        return self._charged <= {place}

    def _later_of(self, charged_s: float) -> float:
        """Of so many seconds of one clip, those that are not in its first window."""
        return max(0.0, charged_s - self._window_s)

    @property
    def _backlog_s(self) -> float:
        """Seconds of sound in the queue as a short clip meets them."""
        return self._queued_s - max(0.0, self._later_s - LATER_SHARE * self.max_queue_s)

    def wait_s(self, duration_s: float) -> float:
        """Seconds until a clip of `duration_s` seconds, let in now, would be answered."""
        return self._wait_s(duration_s)

    def _overloaded(self, message: str, queued_s: float, long: bool = False) -> Overloaded:
        """queued_s: what the queue would hold. long: whether room for it comes only when another long clip is done."""
        excess_s = queued_s - self.max_queue_s
        return Overloaded(
            f"{message}; try again later",
            retry_after_s=retry_after(max(excess_s / self._speed(), self._bulk_wait_s() if long else 0.0)),
            queued_s=round(self._queued_s, 1),
        )


class Place:
    """What one request has of the queue: `charged_s` seconds of sound, until `deadline` (clock of `time.monotonic`)."""

    def __init__(self, admission: Admission, deadline: float) -> None:
        self._admission = admission
        self._deadline = deadline
        self.charged_s = 0.0

    def charge(self, seconds: float) -> None:
        """Count `seconds` more of sound, as it is decoded, in any thread.

        Raises Overloaded if that is more than the queue takes.
        """
        self._admission.charge(self, seconds)

    def check_wait(self, duration_s: float) -> None:
        """Raises Overloaded if a clip of `duration_s` seconds would hardly be answered by the deadline.

        With nobody else in the queue it may try: then waiting would not help.
        """
        if self._admission.alone(self):
            return
        left_s = self._deadline - time.monotonic()
        wait_s = self._admission.wait_s(duration_s)
        if wait_s > left_s * HEADROOM:
            self._admission.refused(duration_s)
            raise Overloaded(
                "the queue is too long to answer this in time; try again later",
                retry_after_s=retry_after(wait_s - left_s * HEADROOM),
                queued_s=round(self._admission.queued_s, 1),
            )


def retry_after(seconds: float) -> int:
    """`seconds` as a value of Retry-After: whole, and neither at once nor never."""
    return math.ceil(min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S))
