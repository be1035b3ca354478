"""The output of a benchmark: a report in Markdown, the same figures as JSON, and two plots."""

from dataclasses import asdict
from pathlib import Path

from scripts.benchmarking.bench import Base
from scripts.benchmarking.engine_figures import EngineFigures
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
        "sound": setup.sound,
        "calls": f"{setup.runs} per engine and length, interleaved, after {setup.warm_up} warm-up calls",
        "threads": f"{setup.threads} for one call; {setup.callers} single-thread calls at once",
    }
    if setup.language:
        settings["language"] = setup.language
    sections = [
        "## Engines",
        _engines_table(results),
        "## Latency",
        _clips_table(results),
        *(_latency_table(engines, length_s) for length_s in setup.lengths_s),
        f"![Latency against clip length]({LATENCY_PLOT})",
        "## Ratios of median latency",
        *(_ratios_table(results, length_s) for length_s in setup.lengths_s),
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
        "ratios": results.ratios(results.length_s),
    }
    compared = results.key_figures()
    return Report("Benchmark", results.machine, settings, sections, figures, compared)


def _engines_table(results: Results) -> str:
    evaluated = any(engine.wer for engine in results.engines.values())
    head = ["engine", "size MB", "load s", "start MiB", "loaded MiB", "peak MiB", "service peak MiB"]
    head += [
        "wide s/s",
        "narrow s/s",
        f"{results.bench.steps} as {results.setup.reference}",
        *(["WER", "CER"] if evaluated else []),
    ]
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


def _clips_table(results: Results) -> str:
    rows = [
        [f"{clips.length_s:g} s", str(clips.count), f"{clips.mean_s:.2f}", f"{clips.mean_steps:.0f}"]
        for clips in results.setup.clips
    ]
    return table(["length", "clips", "mean s", f"mean {results.bench.steps}"], rows)


def _ratios_table(results: Results, length_s: float) -> str:
    bases = results.bench.bases
    rows = [
        [results.engines[key].title, *(number(ratios[base.key], ".3f") for base in bases)]
        for key, ratios in results.ratios(length_s).items()
    ]
    return table([f"{length_s:g} s clips", *(f"/ {_base_title(results, base, length_s)}" for base in bases)], rows)


def _base_title(results: Results, base: Base, length_s: float) -> str:
    """The title of the engine that the base is; that of the base if it was not measured."""
    figures = base.of(results.engines, length_s)
    return figures.title if figures else base.title
