import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from scripts.load_testing.service_metrics import Histogram as Observed
from scripts.load_testing.service_metrics import ServerFigures, increase, parse_metrics


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
    assert observed.quantile(0.95) == 0.2, "quantiles above the last finite bound are not known"
    assert math.isnan(Observed((), 0.0).quantile(0.5))
