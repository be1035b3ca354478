import math
import time
from contextlib import ExitStack
from random import Random

import pytest

from app.admission import Admission, retry_after
from app.errors import NotReady, Overloaded

FAR = math.inf
SPEED = 10.0


def admission(
    max_queue_s: float = 100.0,
    max_uploads: int = 2,
    wait_s: float = 0.0,
    window_s: float = 200.0,
    bulk_wait_s: float = 0.0,
) -> Admission:
    return Admission(
        max_queue_s,
        lambda: window_s,
        max_uploads,
        speed=lambda: SPEED,
        wait_s=lambda duration_s: wait_s + duration_s / SPEED,
        bulk_wait_s=lambda: bulk_wait_s,
    )


def test_admitted_audio_is_counted_until_it_is_answered() -> None:
    door = admission()
    with door.reserve() as first, door.reserve() as second:
        first.charge(30)
        second.charge(0.1)
        second.charge(0.2)
        assert door.requests == 2
        assert door.queued_s == pytest.approx(30.3)
    assert (door.requests, door.queued_s) == (0, 0)


@pytest.mark.parametrize("window_s", [200.0, 20.0])
def test_audio_that_is_no_longer_kept_is_not_counted(window_s: float) -> None:
    door = admission(window_s=window_s)
    with door.reserve() as first, door.reserve() as second:
        first.charge(80)
        first.release(40)
        assert (door.queued_s, first.charged_s) == (40, 40)
        second.charge(60)
        with pytest.raises(Overloaded):
            second.charge(1)
    assert door.queued_s == 0


def test_a_reservation_is_released_when_the_request_fails() -> None:
    door = admission()
    with pytest.raises(RuntimeError), door.reserve() as reservation:
        reservation.charge(30)
        raise RuntimeError
    assert (door.requests, door.queued_s) == (0, 0)


def test_audio_that_does_not_fit_is_refused_while_it_is_decoded_with_a_retry_time() -> None:
    door = admission()
    with door.reserve() as first, door.reserve() as second:
        first.charge(80)
        second.charge(20)
        with pytest.raises(Overloaded) as refusal:
            second.charge(30)
        assert refusal.value.retry_after_s == 3  # 30 s too much, at 10 s per second
        assert refusal.value.details == {"queued_s": 100.0}
        assert door.queued_s == 100


def test_a_full_queue_refuses_before_anything_is_read() -> None:
    door = admission()
    with door.reserve() as reservation:
        reservation.charge(120)
        with pytest.raises(Overloaded) as refusal, door.reserve():
            pytest.fail("was let in")
    assert refusal.value.retry_after_s == 2
    assert door.requests == 0


def test_a_clip_longer_than_the_queue_is_let_in_alone() -> None:
    with admission().reserve() as reservation:
        for _ in range(10):
            reservation.charge(50)


def test_a_long_clip_leaves_space_for_short_ones() -> None:
    """A quarter of the queue is for clips of one window, whatever fills the rest, and were it twice the queue."""
    door = admission(window_s=5, max_uploads=9)
    with door.reserve() as long:
        for _ in range(50):
            long.charge(4)
        with door.reserve() as first, door.reserve() as second:
            for reservation in (first, second):
                for _ in range(5):
                    reservation.charge(1)
            assert door.queued_s == 210
            with door.reserve() as third:
                third.charge(5)
                with pytest.raises(Overloaded):
                    third.charge(1)  # more than a window
        with door.reserve() as short:
            short.charge(5)
    assert door.queued_s == 0


def test_short_clips_fill_the_queue_to_the_limit_and_no_further() -> None:
    door = admission(window_s=5)
    with ExitStack() as stack:
        stack.enter_context(door.reserve()).charge(5)
        for _ in range(19):
            stack.enter_context(door.reserve()).charge(5)
        with pytest.raises(Overloaded), door.reserve():
            pytest.fail("was let in")


def test_a_refused_long_clip_is_told_to_wait_until_another_is_done() -> None:
    door = admission(window_s=5, bulk_wait_s=40)
    with door.reserve() as first, door.reserve() as second:
        first.charge(90)
        with pytest.raises(Overloaded) as refusal:
            second.charge(20)
    assert refusal.value.retry_after_s == 40


def test_rounding_keeps_nobody_from_being_alone() -> None:
    door = admission(wait_s=5)
    random = Random(0)
    for _ in range(200):
        with door.reserve(time.monotonic() + 2) as reservation:
            with door.reserve() as other:
                other.charge(random.uniform(0.1, 9))
                reservation.charge(random.uniform(0.1, 9))
            reservation.charge(1000)
            reservation.check_wait(1000)


def test_a_request_that_would_miss_its_deadline_is_refused() -> None:
    door = admission(wait_s=5)
    with door.reserve() as other:
        other.charge(10)
        with door.reserve(time.monotonic() + 60) as reservation:
            reservation.check_wait(10)
            with pytest.raises(Overloaded):
                reservation.check_wait(1000)
        with pytest.raises(Overloaded) as refusal, door.reserve(time.monotonic() + 2):
            pytest.fail("was let in")
    assert refusal.value.retry_after_s == 4  # 5 s of waiting, 1.6 s of them allowed


def test_a_request_that_is_alone_is_never_refused() -> None:
    with admission(wait_s=5).reserve(time.monotonic() + 2) as reservation:
        reservation.charge(1000)
        reservation.check_wait(1000)


def test_uploads_at_a_time() -> None:
    door = admission(max_uploads=2)
    with door.uploading(), door.uploading():
        with pytest.raises(Overloaded), door.uploading():
            pytest.fail("was let in")
        assert door.uploads == 2
    with door.uploading():
        assert door.uploads == 1


def test_when_closed_it_refuses_new_requests_and_keeps_admitted_ones() -> None:
    door = admission()
    with door.reserve() as reservation:
        door.close()
        reservation.charge(10)
        assert door.requests == 1
        with pytest.raises(NotReady), door.reserve():
            pytest.fail("was let in")


@pytest.mark.parametrize(("seconds", "value"), [(-5, 1), (0, 1), (1.2, 2), (60, 60), (math.inf, 120)])
def test_retry_after(seconds: float, value: int) -> None:
    assert retry_after(seconds) == value
