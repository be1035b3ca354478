import pytest

from scripts.compression.budget import LEAST_SHARE, MARGIN, allot, wall_time_s
from tests.scripts.compression.plans import FOCUS, plan

TRAININGS = plan().trainings
PACE_S = {one.name: 0.5 for one in TRAININGS}
STEPS = 1000


def test_without_a_budget_all_get_their_steps() -> None:
    found = allot(TRAININGS, STEPS, {}, None, jobs=1, fixed={})
    assert found.steps[FOCUS] == STEPS
    assert found.steps[f"{FOCUS}-longer"] == STEPS / 4
    assert not found.left_out


def test_a_budget_shortens_all_alike() -> None:
    whole_s = wall_time_s(TRAININGS, STEPS, PACE_S, jobs=1)
    found = allot(TRAININGS, STEPS, PACE_S, whole_s / 2, jobs=1, fixed={})
    assert found.share == pytest.approx((1 - MARGIN) / 2)
    assert found.steps[FOCUS] == int(found.share * STEPS)
    assert not found.left_out
    assert sum(found.steps[one.name] * PACE_S[one.name] for one in TRAININGS) <= whole_s / 2


def test_a_small_budget_leaves_out_the_least_important() -> None:
    whole_s = wall_time_s(TRAININGS, STEPS, PACE_S, jobs=1)
    found = allot(TRAININGS, STEPS, PACE_S, whole_s / 10, jobs=1, fixed={})
    assert found.share >= LEAST_SHARE
    kept = [one.name for one in TRAININGS if one.name not in found.left_out]
    assert kept == [one.name for one in TRAININGS][: len(kept)]
    assert FOCUS in kept
    assert set(found.left_out) == {one.name for one in TRAININGS} - found.steps.keys()
    assert sum(found.steps[name] * PACE_S[name] for name in kept) <= whole_s / 10


def test_no_time_at_all() -> None:
    found = allot(TRAININGS, STEPS, PACE_S, -5.0, jobs=1, fixed={})
    assert not found.steps
    assert len(found.left_out) == len(TRAININGS)


def test_what_has_begun_keeps_its_steps() -> None:
    found = allot(TRAININGS, STEPS, PACE_S, 10_000.0, jobs=1, fixed={FOCUS: 77})
    assert found.steps[FOCUS] == 77


def test_jobs_share_the_time_but_a_chain_does_not() -> None:
    one, two = (wall_time_s(TRAININGS, STEPS, PACE_S, jobs) for jobs in (1, 2))
    assert two == one / 2
    chain_s = (STEPS + STEPS / 4) * 0.5
    assert wall_time_s(TRAININGS, STEPS, PACE_S, jobs=100) == chain_s
