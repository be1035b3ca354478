import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.tools.as_cpu import HIDDEN, mask_of
from tests.saturation import exact_product, saturating_product

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "tools" / "as_cpu.py"
CANNOT_HIDE = 125
PRODUCT = """
import numpy, onnxruntime
from onnx import TensorProto, helper
inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, ["m", "k"])]
values = numpy.full((64, 32), WEIGHT, numpy.int8).tobytes()
weights = helper.make_tensor("w", TensorProto.INT8, [64, 32], values, raw=True)
output = helper.make_tensor_value_info("y", TensorProto.INT32, ["m", "n"])
nodes = [helper.make_node("MatMulInteger", ["a", "w"], ["y"])]
graph = helper.make_graph(nodes, "product", inputs, [output], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(session.run(None, {"a": numpy.full((16, 64), 255, numpy.uint8)})[0][3, 5])
"""
"""Prints one number of an INT8 product of ONNX Runtime."""


def run_as(kind: str, *command: str) -> str:
    run = subprocess.run(
        [sys.executable, SCRIPT, kind, "--", *command], capture_output=True, text=True, timeout=120, check=False
    )
    if run.returncode == CANNOT_HIDE:
        pytest.skip(f"only on CPUs that can hide instruction sets: {run.stderr.strip()}")
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_every_kind_hides_something() -> None:
    assert all(mask_of(kind).count(".") >= 3 for kind in HIDDEN)
    assert set(mask_of("vnni").split(",")) < set(mask_of("avx512").split(",")) < set(mask_of("avx2").split(","))


@pytest.mark.parametrize("weight", [64, 127])
def test_products_without_vnni_are_what_the_tests_emulate(weight: int) -> None:
    """Compares the emulation itself with a real kernel."""
    left, right = np.full((16, 64), 255, np.uint8), np.full((64, 32), weight, np.int8)
    result = int(run_as("avx2", sys.executable, "-c", PRODUCT.replace("WEIGHT", str(weight))))
    assert result == saturating_product(left, right)[3, 5]
    assert (result == exact_product(left, right)[3, 5]) == (weight == 64)


def test_the_status_of_the_command_is_handed_on() -> None:
    run_as("vnni", "true")
    failed = subprocess.run([sys.executable, SCRIPT, "vnni", "--", "sh", "-c", "exit 7"], timeout=60, check=False)
    assert failed.returncode == 7


def test_a_missing_command_is_reported_in_one_line() -> None:
    failed = subprocess.run(
        [sys.executable, SCRIPT, "vnni", "--", "no-such-command"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 1
    assert "no-such-command" in failed.stderr
    assert "Traceback" not in failed.stderr
