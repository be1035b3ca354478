import json
from dataclasses import asdict, replace

import pytest

from scripts.compression.front import FrontPoint, front_of, named_points, parse_rule, pick
from scripts.compression.students_of_teacher import StudyError
from tests.scripts.compression.front_points import POINTS, TEACHER, point


def test_the_front_has_the_points_that_no_other_beats() -> None:
    assert front_of(POINTS[:5]) == ["exact", "near", "fast"]
    twins = [point("one", 0.1, 0.1), point("two", 0.1, 0.1)]
    assert front_of(twins) == ["one", "two"]
    assert front_of([replace(TEACHER, speed=None)]) == []


def test_three_points_have_names() -> None:
    assert named_points(POINTS) == {
        "fastest within +0.5 points": "near",
        "smallest within +0.5 points": "small",
        "most exact": "exact",
    }
    assert named_points([replace(TEACHER, unproven="no")]) == {}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("wer<=+0.5", "near"),
        ("wer<=+1", "near"),
        ("wer<=+5", "fast"),
        ("wer<=10", "exact"),
        (" wer <= 10.4 , size_mb<=20 ", "near"),
        ("wer<=+0.5,size_mb<=15", "small"),
        ("latency_ms<=95", "fast"),
        ("size_mb<=10", "fast"),
        ("cer<=+0", "exact"),
    ],
)
def test_a_rule_picks_the_fastest_proven_point(rule: str, name: str) -> None:
    assert pick(POINTS, parse_rule(rule)).name == name


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "'' is not a condition"),
        ("wer<+0.5", "'wer<\\+0.5' is not a condition"),
        ("wer<=-1", "is not a condition"),
        ("wer<=+0.5,", "'' is not a condition"),
        ("speed<=3", "no figure 'speed'; there are wer, cer, latency_ms, size_mb"),
        ("size_mb<=+3", "only cer and wer are compared with the teacher"),
    ],
)
def test_a_rule_that_is_not_one(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rule(rule)


def test_no_point_fits() -> None:
    with pytest.raises(StudyError, match=r"no proven point fulfils latency_ms<=5; the lowest latency_ms .* is 20\.00"):
        pick(POINTS, parse_rule("latency_ms<=5"))
    with pytest.raises(StudyError, match=r"wer<=\+0.5; .* is \+4\.00"):
        pick([replace(TEACHER, speed=None), POINTS[4]], parse_rule("wer<=+0.5"))


def test_a_point_survives_json() -> None:
    for one in (*POINTS, replace(TEACHER, speed=None, sets={}), replace(TEACHER, greedy=TEACHER.sets)):
        assert FrontPoint.of_json(json.loads(json.dumps(asdict(one) | {"on_front": True}))) == one
