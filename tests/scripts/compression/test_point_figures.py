import pytest

from scripts.compression.plan import TEACHER
from scripts.compression.point_figures import collect
from scripts.compression.study import Study
from tests.scripts.compression.plans import FOCUS


def test_points_have_their_figures(study: Study) -> None:
    points = {point.name: point for point in collect(study)}
    focus = points[FOCUS]
    assert focus.speed is not None
    assert focus.first is not None
    assert focus.speed.p50_s == 0.040
    assert focus.first.wer.rate == pytest.approx(0.1)
    assert focus.first.deletions == pytest.approx(0.1)
    assert focus.first.increase.rate == 0
    plain = points[f"{FOCUS}-plain"].first
    assert plain is not None
    assert (plain.increase.rate, plain.increase.low, plain.increase.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (study.out / focus.artifact).is_dir()
    assert points[TEACHER].steps == 0
    assert points["l6"].steps_done == points["l6"].steps - 7
    assert points[f"{FOCUS}-trained4bit"].unproven == "text_equality"
