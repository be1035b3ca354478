import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest

from app.runtimes.openvino import CORE
from app.settings import BUNDLED_MODEL
from scripts.common import ROOT
from scripts.tools.operator_times import Operator, Run, last_run, open_onnx, open_openvino, report
from tests.checkpoints import served

NOISE = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)


def node(name: str, operator: str, begin_us: int, taken_us: int) -> dict[str, object]:
    return {"cat": "Node", "name": name, "ts": begin_us, "dur": taken_us, "args": {"op_name": operator}}


def test_only_the_last_run_counts_and_what_is_in_a_loop_once() -> None:
    run: dict[str, object] = {"cat": "Session", "name": "model_run"}
    events: list[dict[str, object]] = [
        run | {"ts": 0, "dur": 900},
        node("a_kernel_time", "MatMul", 10, 800),
        run | {"ts": 1_000, "dur": 700},
        node("a_kernel_time", "MatMul", 1_010, 300),
        node("a_fence_after", "MatMul", 1_311, 5),
        node("b_kernel_time", "MatMul", 1_320, 100),
        node("c_kernel_time", "Gelu", 1_430, 50),
        node("l_kernel_time", "Loop", 1_320, 200),
    ]
    assert last_run(events) == Run(0.7, {Operator("MatMul", ""): 0.4, Operator("Gelu", ""): 0.05})


def test_the_report_has_medians_and_sums_up_what_is_small() -> None:
    product, gelu, small = Operator("MatMul", "int8"), Operator("Gelu", "f32"), Operator("Slice", "")
    runs = [Run(110.0 + extra, {product: 75.0 + extra, gelu: 24.9, small: 0.1}) for extra in (0, 1, -1)]
    lines = report(runs).splitlines()
    assert "| MatMul | int8 | 75.0 | 75.0% |" in lines
    assert "| Gelu | f32 | 24.9 | 24.9% |" in lines
    assert "| all others |  | 0.1 | 0.1% |" in lines
    assert "| sum |  | 100.0 |  |" in lines
    assert lines[-1] == "The clip took 110.0 ms with profiling."


def test_onnx_runtime_reports_the_time_of_operators() -> None:
    total_ms, operators_ms = open_onnx(BUNDLED_MODEL / "model_int8.onnx", 1)(NOISE)
    assert {"MultiHeadAttention", "Gelu", "DynamicQuantizeMatMul"} <= {operator.type for operator in operators_ms}
    assert "Loop" not in {operator.type for operator in operators_ms}
    assert 0 < sum(operators_ms.values()) <= total_ms


def test_openvino_reports_the_time_of_operators(checkpoints: Path, tmp_path: Path) -> None:
    model = CORE.read_model(served("cahya_like", checkpoints) / "model.onnx")
    openvino.save_model(model, tmp_path / "model.xml")
    watched = open_openvino(tmp_path / "model.xml", 1)
    for _ in range(3):  # the cost of the first runs must not be included
        total_ms, operators_ms = watched(NOISE)
    assert "FullyConnected" in {operator.type for operator in operators_ms}
    assert all(operator.kernel for operator, taken_ms in operators_ms.items() if taken_ms)
    assert 0 < sum(operators_ms.values()) <= total_ms + 1.0, "whole microseconds of each node"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/tools/operator_times.py", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_prints_a_table_for_each_file() -> None:
    model = str(BUNDLED_MODEL / "model_int8.onnx")
    printed = run(model, model, "--seconds", "0.5", "--runs", "2", "--threads", "1").stdout
    assert printed.count("| operator | kernel | ms | share |") == 2
    assert len(re.findall(r"^\| MultiHeadAttention \|", printed, re.MULTILINE)) == 2
    assert printed.startswith("0.5 s of noise, 1 threads, ")


@pytest.mark.parametrize("name", ["none.onnx", "README.md"])
def test_a_file_that_is_not_a_model_is_refused(name: str) -> None:
    ended = run(str(BUNDLED_MODEL / name))
    assert ended.returncode == 2
    assert "is not a file with the suffix .onnx or .xml" in ended.stderr
