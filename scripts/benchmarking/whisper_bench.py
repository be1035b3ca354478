"""The benchmark of Whisper models."""

from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher

from app.families import Family
from app.families.whisper import WhisperFamily
from app.runtimes.registry import ONNX, ONNX_INT8
from scripts.benchmarking.bench import Base, Bench
from scripts.benchmarking.engine_figures import EngineFigures, fastest_own, ratio, reference_length_s
from scripts.benchmarking.engines import WHISPER
from scripts.benchmarking.whisper_baselines import WHISPER_BASELINES
from scripts.common.report import KeyFigure

TRANSFORMERS, FASTER_WHISPER, OPTIMUM = "transformers", "faster_whisper_int8", "optimum_fp32"
SHORT_S = 10.0
"""Clips up to this length are compared apart from those of about a full window: others pad them to 30 s."""
FULL_S = 25.0


def tokens_of(family: Family) -> Callable[[str], list[int]]:
    """A function that gives the tokens of a text."""
    assert isinstance(family, WhisperFamily)
    vocabulary = family.settings.vocabulary
    return vocabulary.encode


def equal_tokens(tokens: Sequence[int], others: Sequence[int]) -> tuple[int, int]:
    """Number of tokens that two texts have in common, in order, and number of tokens of the longer one."""
    blocks = SequenceMatcher(None, tokens, others, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks), max(len(tokens), len(others))


def key_figures(engines: Mapping[str, EngineFigures], lengths_s: Sequence[float]) -> list[KeyFigure]:
    """INT8 against the transformers pipeline, faster-whisper in INT8, and optimum's files."""
    fp32, int8 = engines.get(ONNX), engines.get(ONNX_INT8)
    transformers, optimum = engines.get(TRANSFORMERS), engines.get(OPTIMUM)
    found = []

    def add(key: str, what: str, value: float | None, unit: str = "") -> None:
        if value is not None:
            found.append(KeyFigure(key, what, value, unit))

    for base in (TRANSFORMERS, FASTER_WHISPER):
        title = engines[base].title if base in engines else base
        short = [part for part in lengths_s if part <= SHORT_S]
        ratios = [share for part in short if (share := ratio(int8, engines.get(base), part)) is not None]
        if ratios:
            lengths = " to ".join(f"{part:g}" for part in sorted({min(short), max(short)}))
            add(f"int8_latency_to_{base}_short", f"INT8 latency / {title}, clips of {lengths} s, worst", max(ratios))
        if max(lengths_s) >= FULL_S:
            full = ratio(int8, engines.get(base), max(lengths_s))
            add(f"int8_latency_to_{base}_full", f"INT8 latency / {title}, clips of {max(lengths_s):g} s", full)
    if int8 and int8.service_peak_bytes and transformers and transformers.peak_bytes:
        share = int8.service_peak_bytes / transformers.peak_bytes
        add("int8_service_memory_to_transformers", "peak memory, the service on INT8 / transformers pipeline", share)
    if int8 and optimum:
        add("int8_size_to_optimum", "INT8 size / optimum's FP32 files", int8.size_bytes / optimum.size_bytes)
    for engine, exact, key in ((int8, fp32, "int8_wer_rise"), (fp32, transformers, "fp32_wer_rise")):
        if engine and engine.wer and exact and exact.wer:
            rise = 100 * (engine.wer.rate - exact.wer.rate)
            add(key, f"WER of {engine.title} above that of {exact.title}, {engine.clips} clips", rise, "points")
    return found + fastest_own(engines, reference_length_s(lengths_s))


WHISPER_BENCH = Bench(
    WHISPER,
    WHISPER_BASELINES,
    steps="tokens",
    bases=(
        Base(TRANSFORMERS, "transformers pipeline", (TRANSFORMERS,)),
        Base(FASTER_WHISPER, "faster-whisper int8", (FASTER_WHISPER,)),
    ),
    key_figures=key_figures,
    steps_of=tokens_of,
    agreement=equal_tokens,
)
