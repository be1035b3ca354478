import math
from dataclasses import replace

import pytest

from scripts.load_testing.answers import OK, Answer
from scripts.load_testing.load_figures import LoadFigures, median_of_ratios, percentiles
from scripts.load_testing.load_tables import formats_section


def answer(ended_s: float, latency_s: float = 1.0, status: int = 200, outcome: str = OK) -> Answer:
    return Answer("short", "clip", 5.0, ended_s, latency_s, status, outcome, queue_s=0.1, inference_s=0.2)


def test_figures_are_of_the_answers_within_the_window() -> None:
    answers = [
        answer(9.9),
        answer(10.0, 1.0),
        answer(15.0, 2.0),
        answer(19.0, 3.0),
        answer(12.0, 0.01, 429, "overloaded"),
        answer(12.0, 0.03, 500, "engine_failure"),
        answer(20.1),
    ]
    figures = LoadFigures.of(answers, 10.0, 20.0)
    assert (figures.answered, figures.rps, figures.audio_s_per_s) == (3, 0.3, 1.5)
    assert [figures.p50_s, figures.p95_s] == pytest.approx([2.0, 2.9])
    assert (figures.refused, figures.refused_p95_s) == (1, 0.01)
    assert (figures.failed, figures.failures) == ({"engine_failure": 1}, 1)
    assert (figures.queue_s, figures.inference_s) == (0.1, 0.2)


def test_figures_of_each_format_are_of_its_answers() -> None:
    sent = [
        replace(answer(11.0, 1.0), format="opus", sent_bytes=100, decode_s=0.5),
        replace(answer(12.0, 3.0), format="opus", sent_bytes=100, decode_s=0.7),
        replace(answer(12.0, 0.1, 429, "overloaded"), format="opus", sent_bytes=100),
        replace(answer(13.0, 7.0), sent_bytes=1000),
        replace(answer(30.0), format="mp3"),
    ]
    found = LoadFigures.by_format(iter(sent), 10.0, 20.0)
    assert list(found) == ["opus", "wav", "mp3"]
    assert (found["opus"].answered, found["opus"].refused, found["opus"].sent_bytes) == (2, 1, 300)
    assert [found["opus"].p50_s, found["opus"].decode_s] == pytest.approx([2.0, 0.6])
    assert (found["wav"].p50_s, found["wav"].sent_bytes) == (7.0, 1000)
    assert found["mp3"].answered == 0
    section = formats_section(found)
    assert "| opus | 3 | 0.0 | 1.0 | 67% | 2000 | 2900 | 2980 | 600.0 |" in section
    assert "| mp3 | 0 | 0.0 | 0.0 | 0% | - | - | - | - |" in section


def test_without_answers_latencies_are_unknown() -> None:
    figures = LoadFigures.of([], 0.0, 1.0)
    assert figures.answered == 0
    assert math.isnan(figures.p95_s)
    assert all(math.isnan(value) for value in percentiles([], 50, 95))


def test_ratios_are_taken_within_rounds() -> None:
    assert median_of_ratios([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == 3.0
