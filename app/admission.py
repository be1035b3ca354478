"""Decides which requests are admitted: it bounds the backlog, in seconds of audio, and the number of parallel uploads.

The bound is in seconds of audio because a request may hold one word or two hours. What does not fit is refused at once,
with a Retry-After: if admitted, it would only time out later, after costing others their time.

A part of the queue is reserved for short clips. The audio of long clips beyond their first window may fill only the
rest, so a backlog of long recordings can block other long clips, but never a short one.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.errors import STOPPING, NotReady, Overloaded

HEADROOM = 0.8
"""Share of the time until the deadline that the expected wait may fill; the rest covers what the estimate misses."""
BULK_QUEUE_SHARE = 0.75
"""Share of the queue for audio beyond the first window of each clip."""
RETRY_AFTER_MIN_S, RETRY_AFTER_MAX_S = 1, 120


class Admission:
    """Counts the requests, and their audio, that are admitted and not yet answered. Thread-safe.

    max_queue_s: most seconds of audio in the queue; a longer clip is admitted only when the queue is empty. window_s:
    length of a clip's first window, in seconds. max_uploads: most request bodies read at a time. speed: seconds of
    audio computed per second. wait_s: expected seconds until a clip of the given duration, admitted now, is answered.
    bulk_wait_s: expected seconds until the first of the long clips is computed. on_refused: called with the seconds of
    audio that were decoded and then refused.
    """

    def __init__(
        self,
        max_queue_s: float,
        window_s: Callable[[], float],
        max_uploads: int,
        speed: Callable[[], float],
        wait_s: Callable[[float], float],
        bulk_wait_s: Callable[[], float] = lambda: 0.0,
        on_refused: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self.max_queue_s = max_queue_s
        self._window_s = window_s
        self._max_uploads = max_uploads
        self._speed = speed
        self._wait_s = wait_s
        self._bulk_wait_s = bulk_wait_s
        self.on_refused = on_refused
        self._lock = threading.Lock()
        self._charged: set[Reservation] = set()
        self._queued_s = 0.0
        self._bulk_s = 0.0
        self._closed = False
        self.uploads = 0
        self.requests = 0

    @property
    def queued_s(self) -> float:
        """Seconds of audio that are admitted and not yet answered."""
        return self._queued_s

    def close(self) -> None:
        """Refuse every new request; admitted ones stay."""
        self._closed = True

    @contextmanager
    def reserve(self, deadline: float = math.inf) -> Iterator["Reservation"]:
        """Admit one request and hold its place in the queue until it is answered.

        deadline: on the clock of `time.monotonic`. Raises NotReady when closed, Overloaded when the queue is full or so
        long that not even the shortest clip would be answered by the deadline.
        """
        if self._closed:
            raise NotReady(STOPPING)
        if self._backlog_s >= self.max_queue_s:
            raise self._overloaded("too much audio is waiting already", self._backlog_s)
        reservation = Reservation(self, deadline)
        reservation.check_wait(0.0)
        self.requests += 1
        try:
            yield reservation
        finally:
            self.requests -= 1
            with self._lock:
                self._charged.discard(reservation)
                self._queued_s -= reservation.charged_s
                self._bulk_s -= self._bulk_part_s(reservation.charged_s)
                if not self._charged:
                    self._queued_s = self._bulk_s = 0.0  # drop accumulated rounding errors

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """Hold an upload slot while a body is read. Raises Overloaded if all slots are taken."""
        if self.uploads >= self._max_uploads:
            raise Overloaded("too many uploads at a time; try again later", uploads=self.uploads)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    def charge(self, reservation: "Reservation", seconds: float) -> None:
        """Count `seconds` more of audio to a reservation. Raises Overloaded if the queue cannot take them."""
        with self._lock:
            bulk_s = self._bulk_part_s(reservation.charged_s + seconds)
            queued_s = (self._queued_s if bulk_s else self._backlog_s) + seconds
            if queued_s > self.max_queue_s and not self._alone(reservation):
                self.on_refused(reservation.charged_s + seconds)
                raise self._overloaded("the queue has no space for this much audio now", queued_s, long=bulk_s > 0)
            self._charged.add(reservation)
            self._queued_s += seconds
            self._bulk_s += bulk_s - self._bulk_part_s(reservation.charged_s)
            reservation.charged_s += seconds

    def release(self, reservation: "Reservation", seconds: float) -> None:
        """Count `seconds` less of audio to a reservation."""
        with self._lock:
            self._queued_s -= seconds
            self._bulk_s -= self._bulk_part_s(reservation.charged_s)
            reservation.charged_s -= seconds
            self._bulk_s += self._bulk_part_s(reservation.charged_s)

    def alone(self, reservation: "Reservation") -> bool:
        """Whether no other request has audio in the queue."""
        with self._lock:
            return self._alone(reservation)

    def _alone(self, reservation: "Reservation") -> bool:
        return self._charged <= {reservation}

    def _bulk_part_s(self, charged_s: float) -> float:
        """The part of `charged_s` seconds of one clip that lies beyond its first window."""
        return max(0.0, charged_s - self._window_s())

    @property
    def _backlog_s(self) -> float:
        """Seconds of audio in the queue that count against a short clip."""
        return self._queued_s - max(0.0, self._bulk_s - BULK_QUEUE_SHARE * self.max_queue_s)

    def wait_s(self, duration_s: float) -> float:
        """Expected seconds until a clip of `duration_s` seconds, admitted now, is answered."""
        return self._wait_s(duration_s)

    def _overloaded(self, message: str, queued_s: float, long: bool = False) -> Overloaded:
        """The error that refuses a clip.

        queued_s: what the queue would hold with it. long: whether it fits only once another long clip is done.
        """
        excess_s = queued_s - self.max_queue_s
        return Overloaded(
            f"{message}; try again later",
            retry_after_s=retry_after(max(excess_s / self._speed(), self._bulk_wait_s() if long else 0.0)),
            queued_s=round(self._queued_s, 1),
        )


class Reservation:
    """One request's place in the queue: `charged_s` seconds of audio.

    deadline: on the clock of `time.monotonic`.
    """

    def __init__(self, admission: Admission, deadline: float) -> None:
        self._admission = admission
        self._deadline = deadline
        self.charged_s = 0.0

    def charge(self, seconds: float) -> None:
        """Count `seconds` more of audio, as it is decoded. Thread-safe.

        Raises Overloaded if the queue cannot take them.
        """
        self._admission.charge(self, seconds)

    def release(self, seconds: float) -> None:
        """Count `seconds` less of audio, such as a channel that is not kept. Thread-safe."""
        self._admission.release(self, seconds)

    def check_wait(self, duration_s: float) -> None:
        """Raises Overloaded if a clip of `duration_s` seconds is unlikely to be answered by the deadline.

        A request that is alone in the queue may try anyway: coming back later would not help it.
        """
        if self._admission.alone(self):
            return
        left_s = self._deadline - time.monotonic()
        wait_s = self._admission.wait_s(duration_s)
        if wait_s > left_s * HEADROOM:
            self._admission.on_refused(duration_s)
            raise Overloaded(
                "the queue is too long to answer this in time; try again later",
                retry_after_s=retry_after(wait_s - left_s * HEADROOM),
                queued_s=round(self._admission.queued_s, 1),
            )


def retry_after(seconds: float) -> int:
    """`seconds` as a Retry-After value: rounded up and clamped to `RETRY_AFTER_MIN_S`..`RETRY_AFTER_MAX_S`."""
    return math.ceil(min(max(seconds, RETRY_AFTER_MIN_S), RETRY_AFTER_MAX_S))
