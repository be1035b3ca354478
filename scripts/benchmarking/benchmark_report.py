"""The output of a benchmark: a report in Markdown, the same figures as JSON, and two plots."""

from dataclasses import asdict
from pathlib import Path

from app.runtimes.registry import REFERENCE
from scripts.benchmarking.engine_figures import EngineFigures, key_figures, plain_int8
from scripts.benchmarking.plots import plot_latency, plot_trade_off
from scripts.benchmarking.results import Results
from scripts.common import MIB
from scripts.common.report import Report, number, table

STEM = "benchmark_report"
LATENCY_PLOT, TRADE_OFF_PLOT = "benchmark_latency.png", "benchmark_trade_off.png"
DOTS_PER_INCH = 120


def write_report(results: Results, folder: Path) -> Path:
    """Write report, JSON and plots to `folder`. Returns the path of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_latency(results).savefig(folder / LATENCY_PLOT, dpi=DOTS_PER_INCH)
    plot_trade_off(results).savefig(folder / TRADE_OFF_PLOT, dpi=DOTS_PER_INCH)
    return report_of(results).write(folder, STEM)


def report_of(results: Results) -> Report:
    """The report. Its JSON has the latency of every call."""
    setup, engines = results.setup, list(results.engines.values())
    settings = {
        "sound": f"{setup.clip}, looped or cut",
        "calls": f"{setup.runs} per engine and length, interleaved, after {setup.warm_up} warm-up calls",
        "threads": f"{setup.threads} for one call; {setup.callers} single-thread calls at once",
    }
    sections = [
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
        sections += ["## Not measured, or not completely", table(["engine", "reason"], rows)]
    figures = {
        "setup": asdict(setup),
        "compared_at_s": results.length_s,
        "engines": {key: asdict(found) for key, found in results.engines.items()},
        "missing": results.missing,
        "ratios": results.ratios(),
    }
    compared = key_figures(results.engines, results.length_s)
    return Report("Benchmark", results.machine, settings, sections, figures, compared)


def _engines_table(results: Results) -> str:
    evaluated = any(engine.wer for engine in results.engines.values())
    head = ["engine", "size MB", "load s", "start MiB", "loaded MiB", "peak MiB", "service peak MiB"]
    head += ["wide s/s", "narrow s/s", f"frames as {results.setup.reference}", *(["WER", "CER"] if evaluated else [])]
    rows = []
    for engine in results.engines.values():
        row = [engine.title, f"{engine.size_bytes / 1e6:.1f}", number(engine.load_s, ".2f")]
        memory = (engine.start_bytes, engine.loaded_bytes, engine.peak_bytes, engine.service_peak_bytes)
        row += ["-" if held is None else f"{held / MIB:.0f}" for held in memory]
        row += [number(engine.wide, ".1f"), number(engine.narrow, ".1f"), number(engine.agreement, ".2%")]
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
        [results.engines[key].title, number(ratios[REFERENCE], ".3f"), number(ratios["plain_int8"], ".3f")]
        for key, ratios in results.ratios().items()
    ]
    return table(["engine", "/ PyTorch FP32", f"/ {plain.title if plain else 'plain MatMul-only INT8'}"], rows)
