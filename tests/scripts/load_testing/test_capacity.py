import pytest

from scripts.load_testing.capacity import find_capacity
from scripts.load_testing.load_figures import LoadFigures


def figures_at(p95_s: float, refused: int = 0) -> LoadFigures:
    return LoadFigures(10.0, 100, 10.0, 50.0, p95_s / 2, p95_s, p95_s, refused, 0.01, {}, 0.0, 0.1)


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 15, 20])
def test_capacity_is_the_most_users_within_the_limit(most: int) -> None:
    asked: list[int] = []

    def measure(users: int) -> LoadFigures:
        asked.append(users)
        return figures_at(1.0 if users <= most else 3.0)

    steps, capacity = find_capacity(measure, p95_limit_s=2.0, most_users=100)
    assert capacity is not None
    assert capacity.users == most
    assert [step.users for step in steps] == asked
    assert len(asked) == len(set(asked)) <= 10


def test_a_refusal_is_beyond_capacity() -> None:
    _, capacity = find_capacity(lambda users: figures_at(0.1, refused=users > 4), 2.0, 64)
    assert capacity is not None
    assert capacity.users == 4


def test_capacity_is_limited_by_the_maximum_number_of_users() -> None:
    steps, capacity = find_capacity(lambda _: figures_at(0.1), 2.0, 12)
    assert capacity is not None
    assert capacity.users == 12
    assert [step.users for step in steps] == [1, 2, 4, 8, 12]


def test_one_user_may_be_too_many() -> None:
    steps, capacity = find_capacity(lambda _: figures_at(9.0), 2.0, 12)
    assert capacity is None
    assert [step.users for step in steps] == [1]
