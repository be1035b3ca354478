"""What a benchmark writes: a report to read, the same figures as JSON, and two pictures."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from app.runtimes.registry import REFERENCE
from scripts.benchmarking.figures import EngineFigures, find_aims, find_goals, plain_int8, ratio, reference_length_s
from scripts.common import MIB
from scripts.common.goals import GOALS_HEAD
from scripts.common.machine import Machine
from scripts.common.markdown import table

REPORT, JSON, LATENCY_PLOT, TRADE_OFF_PLOT = (
    "benchmark_report.md",
    "benchmark_report.json",
    "benchmark_latency.png",
    "benchmark_trade_off.png",
)
DOTS_PER_INCH = 120
LARGEST_MARKER = 900.0
"""Area of the largest model's marker, in square points."""


@dataclass(frozen=True)
class Setup:
    """How it was measured: the command line, its options as they were understood, and when (ISO 8601, UTC)."""

    command: str
    date: str
    threads: int
    callers: int
    runs: int
    warm_up: int
    lengths_s: tuple[float, ...]
    throughput_s: float
    seed: int
    clip: str
    reference: str
    """Key of the engine that frames are compared with."""
    evaluated: str = ""


@dataclass(frozen=True)
class Results:
    """All that one run of the benchmark found. engines: key -> figures."""

    setup: Setup
    machine: Machine
    engines: dict[str, EngineFigures]
    missing: dict[str, str]
    """Title -> why it could not be measured at all."""

    @property
    def length_s(self) -> float:
        """The clip length that engines are compared at."""
        return reference_length_s(self.setup.lengths_s)

    def ratios(self) -> dict[str, dict[str, float | None]]:
        """Engine -> median latency in units of PyTorch's, and of plain MatMul-only INT8's."""
        bases = {REFERENCE: self.engines.get(REFERENCE), "plain_int8": plain_int8(self.engines, self.length_s)}
        return {
            key: {name: ratio(figures, base, self.length_s) for name, base in bases.items()}
            for key, figures in self.engines.items()
        }


def write_report(results: Results, folder: Path) -> Path:
    """Write report, JSON and pictures into `folder`. Returns the path of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_latency(results).savefig(folder / LATENCY_PLOT, dpi=DOTS_PER_INCH)
    plot_trade_off(results).savefig(folder / TRADE_OFF_PLOT, dpi=DOTS_PER_INCH)
    (folder / JSON).write_text(json.dumps(as_json(results), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT).write_text(as_markdown(results), encoding="utf-8")
    return folder / REPORT


def as_json(results: Results) -> dict[str, Any]:
    """All figures, with every single call."""
    goals, aims = find_goals(results.engines, results.length_s), find_aims(results.engines, results.length_s)
    return {
        "format": 1,
        "setup": asdict(results.setup),
        "machine": asdict(results.machine),
        "compared_at_s": results.length_s,
        "engines": {key: asdict(figures) for key, figures in results.engines.items()},
        "missing": results.missing,
        "ratios": results.ratios(),
        "goals": [asdict(goal) | {"reached": goal.reached} for goal in goals],
        "aims": [asdict(aim) | {"reached": aim.reached} for aim in aims],
    }


def as_markdown(results: Results) -> str:
    """The report; `docs/performance.md` says what its columns mean."""
    setup, machine, engines = results.setup, results.machine, list(results.engines.values())
    changed = " with changes" if machine.changed else ""
    parts = [
        "# Benchmark",
        f"    {setup.command}",
        table(
            ["", ""],
            [
                ["date", setup.date],
                ["commit", machine.commit + changed],
                ["processor", f"{machine.processor}, {machine.cores} cores ({', '.join(machine.features)})"],
                ["memory", f"{machine.memory_bytes / 2**30:.1f} GiB"],
                ["system", f"{machine.system}, Python {machine.python}"],
                ["versions", ", ".join(f"{name} {version}" for name, version in machine.versions.items())],
                ["sound", f"{setup.clip}, looped or cut"],
                ["calls", f"{setup.runs} of each engine and length, interleaved, after {setup.warm_up} to warm up"],
                ["threads", f"{setup.threads} for one call; {setup.callers} single-thread calls side by side"],
            ],
        ),
        "## Goals",
        goals_table(results),
        "## Engines",
        _engines_table(results),
        "## Latency",
        *(_latency_table(engines, length_s) for length_s in setup.lengths_s),
        f"![Latency against clip length]({LATENCY_PLOT})",
        f"## Ratios of median latency, {results.length_s:g} s clips",
        _ratios_table(results),
        f"![Size, speed and errors]({TRADE_OFF_PLOT})",
    ]
    failed = [[engine.title, error] for engine in engines for error in engine.errors]
    if failed or results.missing:
        rows = [*failed, *([title, reason] for title, reason in results.missing.items())]
        parts += ["## Not measured, or not to the end", table(["engine", "reason"], rows)]
    return "\n\n".join(parts) + "\n"


def goals_table(results: Results) -> str:
    """What has to be shown, as far as it was measured."""
    goals, aims = find_goals(results.engines, results.length_s), find_aims(results.engines, results.length_s)
    return table(GOALS_HEAD, [goal.row() for goal in goals] + [aim.row("not yet") for aim in aims])


def _engines_table(results: Results) -> str:
    evaluated = any(engine.wer for engine in results.engines.values())
    head = ["engine", "size MB", "load s", "start MiB", "loaded MiB", "peak MiB", "service peak MiB"]
    head += ["wide s/s", "narrow s/s", f"frames as {results.setup.reference}", *(["WER", "CER"] if evaluated else [])]
    rows = []
    for engine in results.engines.values():
        row = [engine.title, f"{engine.size_bytes / 1e6:.1f}", _number(engine.load_s, ".2f")]
        memory = (engine.start_bytes, engine.loaded_bytes, engine.peak_bytes, engine.service_peak_bytes)
        row += ["-" if held is None else f"{held / MIB:.0f}" for held in memory]
        row += [_number(engine.wide, ".1f"), _number(engine.narrow, ".1f"), _number(engine.agreement, ".2%")]
        row += [str(rate or "-") for rate in (engine.wer, engine.cer)] if evaluated else []
        rows.append(row)
    return table(head, rows)


def _latency_table(engines: list[EngineFigures], length_s: float) -> str:
    rows = []
    for engine in engines:
        if latency := engine.at(length_s):
            seconds = (latency.mean_s, latency.std_s, latency.p50_s, latency.p95_s)
            rows.append([engine.title, *(f"{1000 * value:.1f}" for value in seconds), f"{latency.rtfx:.1f}"])
    return table([f"{length_s:g} s clips", "mean ms", "std ms", "p50 ms", "p95 ms", "RTFx"], rows)


def _ratios_table(results: Results) -> str:
    plain = plain_int8(results.engines, results.length_s)
    rows = [
        [results.engines[key].title, _number(ratios[REFERENCE], ".3f"), _number(ratios["plain_int8"], ".3f")]
        for key, ratios in results.ratios().items()
    ]
    return table(["engine", "/ PyTorch FP32", f"/ {plain.title if plain else 'plain MatMul-only INT8'}"], rows)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def plot_latency(results: Results) -> Figure:
    """Median latency against clip length, a line for each engine, from the median to the 95th percentile shaded."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for index, engine in enumerate(results.engines.values()):
        if engine.latencies:
            lengths_s = [latency.length_s for latency in engine.latencies]
            color, style = f"C{index % 10}", "o-" if engine.own else "s--"
            p50 = [1000 * latency.p50_s for latency in engine.latencies]
            p95 = [1000 * latency.p95_s for latency in engine.latencies]
            axes.plot(lengths_s, p50, style, color=color, label=engine.title)
            axes.fill_between(lengths_s, p50, p95, color=color, alpha=0.12, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="clip, s", ylabel="latency, ms (median to 95th percentile)")
    axes.set_xticks(results.setup.lengths_s, [f"{length_s:g}" for length_s in results.setup.lengths_s])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set_title(f"Latency, {results.setup.threads} threads, {results.machine.processor}")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")
    return figure


def plot_trade_off(results: Results) -> Figure:
    """Speed to the right, errors upwards, size on disk as the area of the marker.

    Errors are the WER if it was measured, with its interval; else the share of frames whose best token is another than
    the reference engine's.
    """
    engines = [engine for engine in results.engines.values() if engine.at(results.length_s)]
    evaluated = any(engine.wer for engine in engines)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    largest = max((engine.size_bytes for engine in engines), default=1)
    for index, engine in enumerate(engines):
        latency = engine.at(results.length_s)
        share = engine.wer.rate if engine.wer else None if engine.agreement is None else 1 - engine.agreement
        if latency is None or share is None or (evaluated and not engine.wer):
            continue
        area = LARGEST_MARKER * engine.size_bytes / largest
        color = f"C{index % 10}"
        axes.scatter(
            latency.rtfx, 100 * share, s=area, color=color, alpha=0.6, marker="o" if engine.own else "s",
            label=f"{engine.title}, {engine.size_bytes / 1e6:.0f} MB",
        )  # fmt: skip
        if engine.wer:
            axes.vlines(latency.rtfx, 100 * engine.wer.low, 100 * engine.wer.high, color=color)
    axes.set(
        xlabel=f"seconds of sound per second, {results.length_s:g} s clips, one call at a time",
        ylabel="WER, %" if evaluated else f"frames with another best token than {results.setup.reference}, %",
        title="Speed, errors and size (area of the marker)",
    )
    axes.grid(alpha=0.3)
    if axes.collections:
        legend = axes.legend(fontsize="small", labelspacing=1.0)
        for handle in legend.legend_handles:
            handle.set_sizes([40.0])  # type: ignore[union-attr]  # a PathCollection, as scatter makes it
    return figure
