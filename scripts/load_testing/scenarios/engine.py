"""The throughput of the service, compared with that of its engine alone."""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from app.cores import available_cores
from app.models import open_model
from scripts.benchmarking.benches import bench_for
from scripts.benchmarking.engines import OWN_BACKENDS, artifact_spec
from scripts.benchmarking.process import EngineProcess
from scripts.common.report import KeyFigure, table
from scripts.load_testing.answers import LoadError, References
from scripts.load_testing.load_figures import median_of_ratios
from scripts.load_testing.load_tables import LOAD_HEAD, load_row
from scripts.load_testing.scenarios.common import USERS, Finding, start
from scripts.load_testing.users import Load, measure


def engine(arguments: argparse.Namespace) -> Finding:
    """What share of the engine's own throughput do 10 clients of the service get?

    The scenario alternates between concurrent single-thread calls of the engine, as in scripts/benchmark.py, and the
    same clips through the service.
    """
    if arguments.backend not in OWN_BACKENDS:
        raise LoadError(f"there is no engine {arguments.backend}; there are {', '.join(OWN_BACKENDS)}")
    model = open_model(Path(arguments.model_dir))
    spec = artifact_spec(arguments.backend, model, bench_for(model.family).family, arguments.language or "")
    workers = int(os.environ.get("ASR_WORKERS", available_cores()))
    load = Load(
        USERS, USERS, arguments.duration_s, arguments.clips_s, long_users=0, formats="wav", speech=arguments.speech
    )
    clips = [np.divide(clip.pcm, 2**15, dtype=np.float32) for clip in load.clips]
    rate_hz = load.clips[0].rate_hz
    alone, served, failures = [], [], 0
    for number in range(arguments.rounds):
        with EngineProcess(spec, threads=1, callers=workers) as process:
            process.load()
            process.throughput(clips, 0.0)  # one pass, to warm up
            alone.append(process.throughput(clips, arguments.duration_s / 2) / rate_hz)
        with start(arguments) as service:
            measured = measure(service.url, load, References.ask(service.url, load.clips))
        served.append(measured.all)
        failures += measured.failures + measured.all.refused
        print(f"round {number + 1}: alone {alone[-1]:.1f} s/s, clients {served[-1].audio_s_per_s:.1f} s/s", flush=True)
    share = median_of_ratios([figures.audio_s_per_s for figures in served], alone)
    key_figures = [
        KeyFigure("failures", f"{USERS} users: failed or refused requests", failures),
        KeyFigure("throughput_share", "throughput of the service / throughput of the engine alone", share),
    ]
    rows = [
        [str(number + 1), f"{own:.1f}", *load_row(figures)]
        for number, (own, figures) in enumerate(zip(alone, served, strict=True))
    ]
    figures = {"engine_audio_s_per_s": alone, "clients": [asdict(figures) for figures in served]}
    return Finding(key_figures, [table(["round", f"engine alone, {workers} calls, s/s", *LOAD_HEAD], rows)], figures)
