import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.cpu import this_cpu
from app.errors import AsrError
from app.metrics import Metrics
from app.transcript import Timings
from tests.conftest import error_tree

OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
TIMINGS = Timings(decode_s=0.002, queue_s=0.0, inference_s=0.2, total_s=0.21)


def samples(text: str) -> dict[str, float]:
    """What a scrape gives: `name{label="value",...}` -> value."""
    families = text_string_to_metric_families(text)
    return {
        name + "".join(f'{{{label}="{value}"}}' for label, value in sorted(labels.items())): value
        for family in families
        for name, labels, value, *_ in family.samples
    }


def scraped(metrics: Metrics) -> dict[str, float]:
    return samples(metrics.exposition()[0].decode())


def watch(metrics: Metrics, gauge: Callable[[], float]) -> None:
    metrics.watch(queue_s=gauge, queue_limit_s=lambda: 10, uploads=lambda: 2, rtfx=lambda: 50.5, ready=lambda: True)


def test_every_outcome_is_there_from_the_start() -> None:
    counted = scraped(Metrics())
    for outcome in ("ok", "client_gone", "other", AsrError.code, *(error.code for error in error_tree())):
        assert counted[f'dikte_requests_total{{outcome="{outcome}"}}'] == 0
    for outcome in ("transcribed", "refused"):
        assert counted[f'dikte_audio_seconds_total{{outcome="{outcome}"}}'] == 0
    for stage in ("decode", "queue", "inference", "total"):
        assert counted[f'dikte_stage_seconds_count{{stage="{stage}"}}'] == 0


def test_outcomes_are_counted_and_unknown_ones_together() -> None:
    metrics = Metrics()
    for outcome in ("ok", "ok", "overloaded", "teapot", "made_up"):
        metrics.answered(outcome)
    counted = scraped(metrics)
    assert counted['dikte_requests_total{outcome="ok"}'] == 2
    assert counted['dikte_requests_total{outcome="overloaded"}'] == 1
    assert counted['dikte_requests_total{outcome="other"}'] == 2
    assert not [name for name in counted if "teapot" in name]


def test_what_was_transcribed_and_refused() -> None:
    metrics = Metrics()
    metrics.transcribed(TIMINGS, 6.5)
    metrics.refused(3600)
    counted = scraped(metrics)
    assert counted['dikte_audio_seconds_total{outcome="transcribed"}'] == 6.5
    assert counted['dikte_audio_seconds_total{outcome="refused"}'] == 3600
    assert counted['dikte_stage_seconds_sum{stage="inference"}'] == 0.2
    assert counted['dikte_stage_seconds_bucket{le="0.001"}{stage="decode"}'] == 0
    assert counted['dikte_stage_seconds_bucket{le="0.0025"}{stage="decode"}'] == 1
    assert counted['dikte_stage_seconds_bucket{le="0.001"}{stage="queue"}'] == 1


def test_engine_calls_are_counted_from_all_threads() -> None:
    metrics = Metrics()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: metrics.computed(windows=4, audio_s=80, busy_s=0.5), range(1000)))
    counted = scraped(metrics)
    assert counted["dikte_batch_windows_count"] == 1000
    assert counted['dikte_batch_windows_bucket{le="2.0"}'] == 0
    assert counted['dikte_batch_windows_bucket{le="4.0"}'] == 1000
    assert counted["dikte_engine_audio_seconds_total"] == 80_000
    assert counted["dikte_engine_busy_seconds_total"] == 500


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics = Metrics()
    queue = [1.0]
    watch(metrics, lambda: queue[0])
    assert scraped(metrics)["dikte_queue_seconds"] == 1.0
    queue[0] = 2.5
    counted = scraped(metrics)
    assert counted["dikte_queue_seconds"] == 2.5
    assert counted["dikte_queue_limit_seconds"] == 10
    assert counted["dikte_uploads_in_progress"] == 2
    assert counted["dikte_rtfx"] == 50.5
    assert counted["dikte_ready"] == 1


def test_only_the_model_that_is_served_is_named() -> None:
    metrics = Metrics()
    metrics.loaded("first", "onnx")
    metrics.loaded("second", "onnx_int8")
    named = {name: value for name, value in scraped(metrics).items() if name.startswith("dikte_model_info")}
    assert named == {f'dikte_model_info{{backend="onnx_int8"}}{{model="second"}}{{version="{__version__}"}}': 1}


def test_the_process_is_measured_too() -> None:
    counted = scraped(Metrics())
    assert counted["process_resident_memory_bytes"] > 1 << 20
    assert counted["process_open_fds"] > 0
    assert counted["process_cpu_seconds_total"] > 0


def test_the_cpu_is_named_from_the_start() -> None:
    features = ", ".join(this_cpu().features)
    assert scraped(Metrics())[f'dikte_cpu_info{{features="{features}"}}{{model="{this_cpu().model}"}}'] == 1


def test_each_has_its_own() -> None:
    one, other = Metrics(), Metrics()
    one.answered("ok")
    assert scraped(other)['dikte_requests_total{outcome="ok"}'] == 0


def test_openmetrics_for_who_asks_for_it() -> None:
    metrics = Metrics()
    metrics.answered("ok")
    assert (
        metrics.exposition("text/html,*/*")[1] == metrics.exposition()[1] == "text/plain; version=0.0.4; charset=utf-8"
    )
    body, content_type = metrics.exposition(
        "text/plain;q=0.3,application/openmetrics-text; version=1.0.0;q=0.5,*/*;q=0.1"
    )
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = openmetrics_families(body.decode())  # type: ignore[no-untyped-call]
    assert "dikte_requests" in {family.name for family in families}


def table() -> str:
    """The table of metrics as it has to stand in docs/operations.md."""
    metrics = Metrics()
    metrics.loaded("tr-small", "onnx_int8")
    rows = ["| metric | type | |", "|---|---|---|"]
    for family in text_string_to_metric_families(metrics.exposition()[0].decode()):
        if family.name.startswith("dikte_"):
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            name = family.name + ("_total" if family.type == "counter" else "")
            shown = f"{name}{{{','.join(labels)}}}" if labels else name
            rows.append(f"| `{shown}` | {family.type} | {family.documentation} |")
    return "\n".join(rows)


def test_every_metric_stands_in_the_table() -> None:
    assert table() in OPERATIONS.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\b(?:dikte|process)_[a-z_]+", OPERATIONS.read_text("utf-8")))))
def test_every_metric_that_the_documentation_names_exists(name: str) -> None:
    metrics = Metrics()
    metrics.loaded("tr-small", "onnx_int8")
    assert re.search(rf"^(# TYPE )?{name}\b", metrics.exposition()[0].decode(), re.MULTILINE)
