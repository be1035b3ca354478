"""Profile a model: the time of each type of operator for one clip, as reported by the runtime.

    python scripts/tools/operator_times.py models/onnx/model_int8.onnx models/onnx/model_openvino_int8.xml --seconds 10

Takes files for ONNX Runtime and OpenVINO. The clip is noise. Profiling takes time, so the sum is slightly larger than
the time of a clip without it. The files take turns, so that other load on the machine affects all of them.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.cores import available_cores
from app.families.ctc.graph import LENGTHS_INPUT
from scripts.common.machine import processor
from scripts.common.report import table

RATE_HZ = 16_000
CONTAINERS = frozenset({"Loop", "If", "Scan"})
"""ONNX operators that contain other operators. The contained ones are counted, these are not."""
MIN_SHARE = 0.005
"""Operators with less than this share of the time are combined in one row."""


class Operator(NamedTuple):
    """A type of operator and its kernel, by their names in the runtime."""

    type: str
    kernel: str


class Run(NamedTuple):
    """The times of one clip in milliseconds: in total, and for all nodes of each operator."""

    total_ms: float
    operators_ms: Mapping[Operator, float]


Runner = Callable[[NDArray[np.float32]], Run]


def open_onnx(path: Path, threads: int) -> Runner:
    """A runner for ONNX Runtime.

    Each run has its own session, because ONNX Runtime reports the times at the end of a session. The first inference of
    a session is for warm-up.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_profiling = True

    def run(samples: NDArray[np.float32]) -> Run:
        with tempfile.TemporaryDirectory(prefix="dikte-operators-") as folder:
            options.profile_file_prefix = str(Path(folder) / "times")
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            feed = inputs(samples, [node.name for node in session.get_inputs()])
            session.run(None, feed)
            session.run(None, feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return last_run(events)

    return run


def last_run(events: Iterable[Mapping[str, Any]]) -> Run:
    """The last run in the events of a session of ONNX Runtime, whose times are in microseconds."""
    recorded = list(events)
    run = max((event for event in recorded if event["name"] == "model_run"), key=lambda event: event["ts"])
    operators: defaultdict[Operator, float] = defaultdict(float)
    for event in recorded:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= run["ts"]:
            arguments = event["args"]
            if arguments["op_name"] not in CONTAINERS:
                operators[Operator(arguments["op_name"], "")] += event["dur"] / 1e3
    return Run(run["dur"] / 1e3, operators)


def open_openvino(path: Path, threads: int) -> Runner:
    """A runner for OpenVINO. Like the service, it uses bfloat16 if the CPU supports it."""
    from app.runtimes.openvino import CORE, computes_in_bfloat16

    options = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "bf16" if computes_in_bfloat16() else "f32",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    request = CORE.compile_model(CORE.read_model(path), "CPU", options).create_infer_request()
    names = [value.get_any_name() for value in request.model_inputs]
    sums_ms: list[dict[Operator, float]] = []  # after each run, the sum over all runs so far

    def infer(samples: NDArray[np.float32]) -> float:
        feed = inputs(samples, names)
        begin = time.perf_counter()
        request.infer(feed)
        total_ms = (time.perf_counter() - begin) * 1e3
        operators: defaultdict[Operator, float] = defaultdict(float)
        for node in request.profiling_info:  # the mean over all runs so far
            taken_ms = node.real_time.total_seconds() * 1e3
            operators[Operator(node.node_type, node.exec_type)] += taken_ms * (len(sums_ms) + 1)
        sums_ms.append(operators)
        return total_ms

    def run(samples: NDArray[np.float32]) -> Run:
        infer(samples)  # OpenVINO generates code for each new length
        total_ms = infer(samples)
        before, now = sums_ms[-2:]
        return Run(total_ms, {operator: max(0.0, ms - before.get(operator, 0.0)) for operator, ms in now.items()})

    return run


def inputs(samples: NDArray[np.float32], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """The inputs of a model: the samples as a batch of one clip, and its length if the model has that input."""
    return {name: np.array([samples.size]) if name == LENGTHS_INPUT else samples[np.newaxis] for name in names}


OPENERS: dict[str, Callable[[Path, int], Runner]] = {".onnx": open_onnx, ".xml": open_openvino}
"""Suffix of a model file -> function that opens it."""


def report(runs: list[Run]) -> str:
    """A table of the median time of each operator in milliseconds, and its share."""
    operators = {operator for run in runs for operator in run.operators_ms}
    medians = {operator: median(run.operators_ms.get(operator, 0.0) for run in runs) for operator in operators}
    whole = sum(medians.values())
    rows, rest = [], 0.0
    for operator, taken_ms in sorted(medians.items(), key=lambda item: -item[1]):
        if taken_ms < MIN_SHARE * whole:
            rest += taken_ms
        else:
            rows.append([operator.type, operator.kernel, f"{taken_ms:.1f}", f"{taken_ms / whole:.1%}"])
    rows += [["all others", "", f"{rest:.1f}", f"{rest / whole:.1%}"], ["sum", "", f"{whole:.1f}", ""]]
    total_ms = median(run.total_ms for run in runs)
    return f"{table(['operator', 'kernel', 'ms', 'share'], rows)}\n\nThe clip took {total_ms:.1f} ms with profiling."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help=f"model files ({', '.join(OPENERS)})")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    for path in arguments.files:
        if path.suffix not in OPENERS or not path.is_file():
            parser.error(f"{path} is not a file with the suffix {' or '.join(OPENERS)}")
    samples = np.random.default_rng(0).normal(0, 0.1, int(arguments.seconds * RATE_HZ)).astype(np.float32)
    runners = [OPENERS[path.suffix](path, arguments.threads) for path in arguments.files]
    runs = [[runner(samples) for runner in runners] for _ in range(arguments.runs)]
    print(f"{arguments.seconds:g} s of noise, {arguments.threads} threads, {processor()}")
    for path, of_path in zip(arguments.files, zip(*runs, strict=True), strict=True):
        print(f"\n## {path}\n\n{report(list(of_path))}")


if __name__ == "__main__":
    main()
