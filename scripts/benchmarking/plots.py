"""The two plots of a benchmark."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, ScalarFormatter

from scripts.benchmarking.results import Results

LARGEST_MARKER = 900.0
"""Area of the marker of the largest model, in square points."""


def plot_latency(results: Results) -> Figure:
    """Median latency against clip length: a line for each engine, shaded up to the 95th percentile."""
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
    """Errors against speed, with the size on disk as the area of the marker.

    Errors are the WER with its interval, if it was measured. Otherwise they are the share of frames or tokens that
    differ from those of the reference engine.
    """
    engines = [engine for engine in results.engines.values() if engine.at(results.length_s)]
    evaluated = any(engine.wer for engine in engines)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    largest = max((engine.size_bytes for engine in engines), default=1)
    for index, engine in enumerate(engines):
        latency = engine.at(results.length_s)
        if latency is None:
            continue
        if engine.wer:
            share = engine.wer.rate
        elif engine.agreement is not None and not evaluated:
            share = 1 - engine.agreement
        else:
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
        xlabel=f"seconds of audio per second, {results.length_s:g} s clips, one call at a time",
        ylabel="WER, %" if evaluated else f"{results.bench.steps} that differ from {results.setup.reference}, %",
        title="Speed, errors and size (area of the marker)",
    )
    axes.grid(alpha=0.3)
    if axes.collections:
        legend = axes.legend(fontsize="small", labelspacing=1.0)
        for handle in legend.legend_handles:
            handle.set_sizes([40.0])  # type: ignore[union-attr]  # a PathCollection, as scatter returns it
    return figure
