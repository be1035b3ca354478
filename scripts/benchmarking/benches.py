"""The benchmark of each model family."""

from app.families import Family
from app.families.whisper import WhisperFamily
from scripts.benchmarking.bench import Bench
from scripts.benchmarking.ctc_bench import CTC_BENCH
from scripts.benchmarking.whisper_bench import WHISPER_BENCH

BENCHES = (CTC_BENCH, WHISPER_BENCH)


def bench_for(family: Family) -> Bench:
    """The benchmark of a checkpoint's family."""
    return WHISPER_BENCH if isinstance(family, WhisperFamily) else CTC_BENCH
