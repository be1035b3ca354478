"""The tables in the report of a load test."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from scripts.common.report import milliseconds, number, table
from scripts.load_testing.capacity import Step
from scripts.load_testing.load_figures import LoadFigures
from scripts.load_testing.service_metrics import ServerFigures

LOAD_HEAD = ["RPS", "RTFx", "p50 ms", "p95 ms", "p99 ms", "queue ms", "inference ms", "answered", "refused", "failed"]


def load_row(figures: LoadFigures) -> list[str]:
    """The cells of a row, in the order of `LOAD_HEAD`."""
    failed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(figures.failed.items()))
    return [
        f"{figures.rps:.2f}",
        f"{figures.audio_s_per_s:.1f}",
        *map(milliseconds, (figures.p50_s, figures.p95_s, figures.p99_s, figures.queue_s, figures.inference_s)),
        str(figures.answered),
        str(figures.refused),
        failed or "0",
    ]


def load_table(by_kind: Mapping[str, LoadFigures], what: str = "users") -> str:
    """A table with a row for each kind. what: heading of the first column."""
    return table([what, *LOAD_HEAD], [[kind, *load_row(figures)] for kind, figures in by_kind.items()])


def formats_section(by_format: Mapping[str, LoadFigures]) -> str:
    """A table of the formats: how much was sent, and how fast it was answered."""
    all_audio_s_per_s = sum(figures.audio_s_per_s for figures in by_format.values())
    rows = [
        [
            name,
            str(figures.answered + figures.refused + figures.failures),
            f"{figures.sent_bytes / 1e6:.1f}",
            f"{figures.audio_s_per_s:.1f}",
            f"{figures.audio_s_per_s / all_audio_s_per_s:.0%}" if all_audio_s_per_s else "-",
            *map(milliseconds, (figures.p50_s, figures.p95_s, figures.p99_s)),
            number(1000 * figures.decode_s, ".1f"),
        ]
        for name, figures in by_format.items()
    ]
    return table(["format", "sent", "MB", "RTFx", "of all", "p50 ms", "p95 ms", "p99 ms", "decode ms"], rows)


def server_section(server: ServerFigures | None) -> str:
    """The figures that the service itself reports."""
    if server is None:
        return "The service has no `/metrics`."
    stages = [
        [stage, *map(milliseconds, (found.mean, found.quantile(0.5), found.quantile(0.95))), f"{found.count:.0f}"]
        for stage, found in server.stages.items()
    ]
    rest = [
        ["audio transcribed, s/s", number(server.audio_s_per_s, ".1f")],
        ["audio per CPU second of the service, s/s", number(server.audio_s_per_cpu_s, ".1f")],
        ["audio per second of an engine call, s/s", number(server.rtfx, ".1f")],
        ["concurrent engine calls, mean", number(server.busy_workers, ".2f")],
        ["windows per engine call, mean", number(server.batch_windows, ".2f")],
        ["outcomes", ", ".join(f"{count} {outcome}" for outcome, count in sorted(server.outcomes.items())) or "-"],
    ]
    head = ["stage", "mean ms", "p50 ms (from buckets)", "p95 ms (from buckets)", "requests"]
    return f"{table(head, stages)}\n\n{table(['', ''], rest)}"


def server_json(server: ServerFigures | None) -> dict[str, Any] | None:
    """The figures that the service itself reports, for JSON."""
    if server is None:
        return None
    stages = {
        stage: {"count": found.count, "mean_s": found.mean, "p50_s": found.quantile(0.5), "p95_s": found.quantile(0.95)}
        for stage, found in server.stages.items()
    }
    return asdict(server) | {"stages": stages}


def capacity_section(steps: Sequence[Step], capacity: Step | None, p95_limit_s: float) -> str:
    """The capacity, and a table of all steps by number of users."""
    rows = [
        [str(step.users), "yes" if step.within(p95_limit_s) else "no", *load_row(step.figures)]
        for step in sorted(steps, key=lambda step: step.users)
    ]
    if capacity is None:
        result = f"A single user exceeds the p95 limit of {p95_limit_s:g} s."
    else:
        found = capacity.figures
        result = (
            f"**Capacity: {capacity.users} users**, {found.rps:.2f} requests and {found.audio_s_per_s:.1f} s of audio "
            f"per second, p95 {found.p95_s:.2f} s (limit {p95_limit_s:g} s)."
        )
    return f"{result}\n\n{table(['users', 'within the limit', *LOAD_HEAD], rows)}"
