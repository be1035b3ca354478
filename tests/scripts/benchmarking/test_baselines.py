import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.benchmarking.baselines import Baseline, Source, make_baselines, source_of
from scripts.benchmarking.benches import BENCHES
from scripts.benchmarking.ctc_baselines import CTC_BASELINES, STOCK_FILE, calibration_clips
from scripts.benchmarking.engines import CTC, load
from scripts.exporting.onnx_files import count_operators
from tests.checkpoints import RATE_HZ, babbling, baselines, built, clips
from tests.recognizers import ctc_recognizer

BY_KEY = {baseline.key: baseline for baseline in CTC_BASELINES}
CLIP = babbling(1.0, seed=5)


@pytest.fixture(scope="module")
def source(checkpoints: Path) -> Source:
    return baselines("cahya_like", checkpoints)


def test_every_baseline_is_named_once() -> None:
    baselines = [baseline for bench in BENCHES for baseline in bench.baselines]
    for names in ({baseline.key for baseline in baselines}, {baseline.title for baseline in baselines}):
        assert len(names) == len(baselines)


# Weights of 8 bits saturate on CPUs without VNNI.
@pytest.mark.parametrize(("key", "difference"), [("stock_fp32", 1e-4), ("pytorch_bf16", 1.0), ("matmul_qint8", 4.0)])
def test_it_computes_about_the_same_as_the_checkpoint(key: str, difference: float, source: Source) -> None:
    expected = ctc_recognizer(source.checkpoint, "pytorch").emissions([CLIP])[0]
    emissions = load(BY_KEY[key].spec(source), threads=1, callers=1).compute(CLIP)
    assert isinstance(emissions, np.ndarray)
    assert emissions.dtype == np.float32
    np.testing.assert_allclose(emissions, expected, atol=difference)
    assert key == "stock_fp32" or np.abs(emissions - expected).max() > 1e-4, "it is less exact"


def weight_types(path: Path) -> set[int]:
    """Data types of the weights of the integer matrix products."""
    graph = onnx.load(path).graph
    weights = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    return {item.data_type for item in graph.initializer if item.name in weights}


def test_each_is_what_its_name_says(source: Source) -> None:
    stock = count_operators(source.folder / STOCK_FILE)
    assert stock["Conv"] == 8
    assert "DynamicQuantizeLinear" not in stock
    for key in ("matmul_qint8", "matmul_quint8"):
        operators = count_operators(BY_KEY[key].path(source))
        assert operators["Conv"] == 8
        assert operators["MatMulInteger"] > 0
    assert weight_types(BY_KEY["matmul_qint8"].path(source)) == {onnx.TensorProto.INT8}
    assert weight_types(BY_KEY["matmul_quint8"].path(source)) == {onnx.TensorProto.UINT8}
    everything = count_operators(BY_KEY["dynamic_all"].path(source))
    assert everything["ConvInteger"] == 8
    assert "Conv" not in everything


def test_they_are_made_only_once(source: Source) -> None:
    before = {path: path.stat().st_mtime_ns for path in source.folder.iterdir()}
    assert make_baselines(source, CTC_BASELINES, ["stock_fp32", "matmul_qint8"]) == {}
    assert {path: path.stat().st_mtime_ns for path in source.folder.iterdir()} == before


def test_other_weights_have_other_baselines(checkpoints: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "copy")
    same = source_of(copy, tmp_path, clips(checkpoints)).folder
    assert same.name == baselines("cahya_like", checkpoints).folder.name
    weights = copy / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert source_of(copy, tmp_path, clips(checkpoints)).folder != same


def test_calibration_clips_are_part_of_the_name(source: Source, tmp_path: Path) -> None:
    (others := tmp_path / "clips").mkdir()
    shutil.copy(source.calibration / "one.wav", others)
    moved = Source(source.checkpoint, source.folder, others)
    assert BY_KEY["openvino_nncf"].path(moved) != BY_KEY["openvino_nncf"].path(source)
    assert BY_KEY["dynamic_all"].path(moved) == BY_KEY["dynamic_all"].path(source)


def test_calibration_clips_are_scaled_as_the_model_wants_them(source: Source) -> None:
    found = calibration_clips(source)
    assert [len(clip) for clip in found] == [int(1.5 * RATE_HZ), 2 * RATE_HZ]
    for clip in found:
        assert clip.dtype == np.float32
        assert abs(clip.mean()) < 1e-4
        assert clip.std() == pytest.approx(1.0, abs=1e-3)


def test_a_calibration_clip_that_cannot_be_read_is_named(source: Source, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"broken\.wav cannot be read: the file is not audio"):
        calibration_clips(replace(source, calibration=tmp_path))


def test_a_baseline_that_cannot_be_made_leaves_no_file_and_does_not_stop_the_others(
    source: Source,
) -> None:
    def fail(source: Source, target: Path) -> None:
        target.write_bytes(b"half a model")
        raise RuntimeError("no such operator")

    broken = Baseline("broken", "broken", CTC, "onnx_file", "broken.onnx", fail)
    absent = Baseline("absent", "absent", CTC, "onnx_file", "absent.onnx", needs=("no_such_package", "no_such.module"))
    failed = make_baselines(source, (broken, absent, BY_KEY["stock_fp32"]), ["broken", "absent", "stock_fp32"])
    assert failed.keys() == {"broken", "absent"}
    assert "no such operator" in failed["broken"]
    assert "not installed: no_such_package, no_such.module" in failed["absent"]
    assert not (source.folder / "broken.onnx").exists()
    with pytest.raises(FileNotFoundError):
        broken.spec(source)
