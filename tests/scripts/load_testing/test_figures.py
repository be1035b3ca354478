import math
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from scripts.load_testing.answers import OK, Answer
from scripts.load_testing.figures import Histogram as Observed
from scripts.load_testing.figures import (
    LoadFigures,
    ServerFigures,
    find_capacity,
    increase,
    median_of_ratios,
    parse_metrics,
    percentiles,
)
from scripts.load_testing.report import formats_section


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


def test_counters_and_histograms_are_counted_between_two_scrapes() -> None:
    registry = CollectorRegistry()
    requests = Counter("dikte_requests", "", ["outcome"], registry=registry)
    audio = Counter("dikte_audio_seconds", "", ["outcome"], registry=registry)
    busy, computed = (Counter(f"dikte_engine_{name}_seconds", "", registry=registry) for name in ("busy", "audio"))
    stages = Histogram("dikte_stage_seconds", "", ["stage"], buckets=(0.1, 0.2, 0.4), registry=registry)
    cpu = Counter("process_cpu_seconds", "", registry=registry)
    batches = Histogram("dikte_batch_windows", "", buckets=(1, 2, 4), registry=registry)

    def scrape() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return parse_metrics(generate_latest(registry).decode())

    def work() -> None:
        requests.labels("ok").inc(2)
        audio.labels("transcribed").inc(30)
        busy.inc(2)
        cpu.inc(6)
        computed.inc(60)
        batches.observe(1)
        batches.observe(2)
        for value in (0.05, 0.15, 0.15, 0.3):
            stages.labels("queue").observe(value)

    work()
    before = scrape()
    work()
    requests.labels("overloaded").inc()
    after = scrape()

    assert increase(before, after, "dikte_requests_total", outcome="ok") == 2
    assert increase(before, after, "dikte_requests_total", outcome="overloaded") == 1
    server = ServerFigures.between(before, after, seconds=4.0)
    assert server is not None
    assert (server.audio_s_per_s, server.rtfx, server.busy_workers, server.batch_windows) == (7.5, 30.0, 0.5, 1.5)
    assert server.outcomes == {"ok": 2, "overloaded": 1}
    assert server.audio_s_per_cpu_s == 5.0
    queue = server.stages["queue"]
    assert [queue.count, queue.mean] == pytest.approx([4.0, 0.1625])
    assert queue.quantile(0.25) == pytest.approx(0.1)
    assert queue.quantile(0.5) == pytest.approx(0.15)
    assert math.isnan(server.stages["decode"].mean)
    assert ServerFigures.between({}, {}, 1.0) is None


def test_quantiles_are_those_of_prometheus() -> None:
    observed = Observed(((0.1, 0.0), (0.2, 8.0), (float("inf"), 10.0)), 2.0)
    assert observed.quantile(0.4) == pytest.approx(0.15)
    assert observed.quantile(0.95) == 0.2, "beyond the last bound nothing is known"
    assert math.isnan(Observed((), 0.0).quantile(0.5))


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


def test_capacity_ends_at_the_most_users_that_may_be() -> None:
    steps, capacity = find_capacity(lambda _: figures_at(0.1), 2.0, 12)
    assert capacity is not None
    assert capacity.users == 12
    assert [step.users for step in steps] == [1, 2, 4, 8, 12]


def test_there_may_be_no_capacity() -> None:
    steps, capacity = find_capacity(lambda _: figures_at(9.0), 2.0, 12)
    assert capacity is None
    assert [step.users for step in steps] == [1]


def test_ratios_are_taken_within_rounds() -> None:
    assert median_of_ratios([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == 3.0
