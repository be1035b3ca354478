from types import SimpleNamespace

from scripts.compression.candidate_shapes import Candidate, dominated, focus_of, grid, spread
from scripts.training.students import Shape

BASE = SimpleNamespace(num_hidden_layers=12, conv_dim=[512] * 7, intermediate_size=3072)


def test_the_grid_is_below_the_teacher() -> None:
    labels = grid(BASE)
    assert len(set(labels)) == len(labels)
    shapes = [Shape.parse(label) for label in labels]
    assert Shape() not in shapes
    assert {shape.layers for shape in shapes} == {None, 8, 6, 4}
    assert {shape.conv_channels for shape in shapes} == {None, 256}
    assert {shape.squeeze for shape in shapes} == {1, 2}


def test_a_tiny_teacher_has_a_grid_too() -> None:
    labels = grid(SimpleNamespace(num_hidden_layers=1, conv_dim=[16] * 7, intermediate_size=64))
    assert "c8" in labels
    assert all(Shape.parse(label).layers is None for label in labels)


def test_a_shape_that_is_smaller_and_slower_is_dominated() -> None:
    candidates = [Candidate("l6", 60, 0.10), Candidate("l4", 40, 0.08), Candidate("l6-c256", 50, 0.07)]
    assert dominated(candidates) == {"l4": "l6-c256"}
    assert not dominated([Candidate("l6", 60, 0.1), Candidate("l4", 40, 0.1 - 1e-6)])
    assert not dominated([Candidate("l6", 60, 0.1), Candidate("l6-f9", 60, 0.1)]), "equal ones do not drop each other"


def test_frames_count_beside_parameters() -> None:
    squeezed, whole = Candidate("s2", 90, 0.06), Candidate("l8", 60, 0.08)
    assert not dominated([squeezed, whole])
    assert dominated([Candidate("l6-s2", 50, 0.09), whole]) == {"l6-s2": "l8"}


def test_the_chosen_shapes_are_spread_over_the_times() -> None:
    candidates = [Candidate(f"l{number}", number, number / 100) for number in range(1, 17)]
    chosen = spread(candidates, 3)
    assert [one.label for one in chosen] == ["l16", "l4", "l1"]
    assert len(spread(candidates, 99)) == 16
    assert len(spread(candidates, 1)) == 1


def test_the_focus_is_the_largest_that_is_fast() -> None:
    candidates = [Candidate("l6", 60, 0.07), Candidate("l4", 40, 0.05), Candidate("l2", 20, 0.03)]
    assert focus_of(candidates, teacher_s=0.1) == "l4"
    assert focus_of(candidates, teacher_s=0.05) == "l2", "none is twice as fast"
