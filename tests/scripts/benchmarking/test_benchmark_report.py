import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from scripts.benchmarking.benchmark_report import LATENCY_PLOT, STEM, TRADE_OFF_PLOT, write_report
from scripts.benchmarking.ctc_bench import CTC_BENCH
from scripts.benchmarking.engine_figures import EngineFigures, Latency
from scripts.benchmarking.results import ClipsOfLength, Results, Setup
from scripts.common.machine import Machine
from scripts.speech.scoring import ErrorRate

MIB = 1 << 20
SETUP = Setup(2, 2, 3, 1, (2.0, 10.0), 5.0, 0, "a.wav", "pytorch", clips=(ClipsOfLength(10.0, 5, 9.876, 493.0),))
MACHINE = Machine("Some CPU", 2, ("avx2",), 8 << 30, "Linux", "3.11.7", {"numpy": "2.4.6"}, "abc123", changed=True)


def figures(key: str, p50_s: float, own: bool = True, **more: Any) -> EngineFigures:
    latencies = [Latency.of(length_s, [p50_s * length_s / 10] * 3) for length_s in SETUP.lengths_s]
    found = EngineFigures(key, f"{key} | title", own, 50_000_000, latencies=latencies, agreement=0.98)
    for name, value in more.items():
        setattr(found, name, value)
    return found


@pytest.fixture
def results() -> Results:
    engines = [
        figures("pytorch", 0.6, load_s=2.5, start_bytes=50 * MIB, loaded_bytes=700 * MIB, peak_bytes=1000 * MIB),
        figures("onnx_int8", 0.15, peak_bytes=300 * MIB, wide=40.0, narrow=50.0),
        figures("matmul_qint8", 0.4, own=False),
        EngineFigures("dynamic_all", "all", False, 1, errors=["RuntimeError: no\nsuch operator"]),
    ]
    return Results(
        CTC_BENCH, SETUP, MACHINE, {engine.key: engine for engine in engines}, {"stock OpenVINO": "not installed"}
    )


def row(report: str, first: str) -> list[str]:
    """The cells of the table row that starts with `first`."""
    (line,) = [line for line in report.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]


def section(report: str, title: str) -> str:
    return report.split(f"\n## {title}")[1].split("\n## ")[0]


def test_the_report_holds_what_was_measured(results: Results, tmp_path: Path) -> None:
    report = write_report(results, tmp_path / "new").read_text(encoding="utf-8")
    assert row(report, "commit")[1] == "abc123 with changes"
    assert "Some CPU, 2 cores (avx2)" in report
    ratios = section(report, "Ratios").split("| 10 s clips")[1]
    assert "/ pytorch \\| title | / matmul_qint8 \\| title |" in ratios
    assert row(ratios, "onnx_int8 \\| title")[1:] == ["0.250", "0.375"]
    assert row(ratios, "all")[1:] == ["-", "-"]
    key_figures = section(report, "Key figures")
    assert "| INT8 latency / PyTorch FP32, 10 s clip | 0.25 |" in key_figures
    assert "| INT8 size / FP32 | 1 |" in key_figures
    latency = section(report, "Latency").split("| 10 s clips")[1]
    assert row(latency, "pytorch \\| title")[1:] == ["600.0", "0.0", "600.0", "600.0", "16.7"]
    assert row(section(report, "Engines"), "pytorch \\| title")[1:6] == ["50.0", "2.50", "50", "700", "1000"]
    assert row(section(report, "Latency"), "10 s")[1:] == ["5", "9.88", "493"]
    missing = section(report, "Not measured")
    assert row(missing, "all")[1] == "RuntimeError: no such operator"
    assert row(missing, "stock OpenVINO")[1] == "not installed"


def test_word_errors_are_shown_when_there_are_some(results: Results, tmp_path: Path) -> None:
    assert "WER" not in section(write_report(results, tmp_path).read_text(encoding="utf-8"), "Engines")
    results.engines["onnx_int8"].wer = results.engines["onnx_int8"].cer = ErrorRate(0.123, 0.1, 0.15)
    assert "12.3% (10.0% to 15.0%)" in write_report(results, tmp_path).read_text(encoding="utf-8")


def test_the_figures_as_json(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path)
    written = json.loads((tmp_path / f"{STEM}.json").read_text(encoding="utf-8"))
    assert written["setup"]["lengths_s"] == [2.0, 10.0]
    assert written["missing"] == {"stock OpenVINO": "not installed"}
    assert written["engines"]["onnx_int8"]["latencies"][1]["runs_s"] == [0.15, 0.15, 0.15]
    assert written["ratios"]["onnx_int8"] == {"pytorch": pytest.approx(0.25), "plain_int8": pytest.approx(0.375)}
    assert {"int8_latency_to_pytorch", "int8_size_to_fp32"} <= {figure["key"] for figure in written["key_figures"]}


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("name", [LATENCY_PLOT, TRADE_OFF_PLOT])
def test_the_pictures(name: str, measured: bool, results: Results, tmp_path: Path) -> None:
    if not measured:
        for engine in results.engines.values():
            engine.latencies = []
    write_report(results, tmp_path)
    height, width, _ = (pixels := imread(tmp_path / name)).shape
    assert (height, width) == (720, 1080)
    colored = (pixels[..., :3].max(axis=2) - pixels[..., :3].min(axis=2) > 0.2).sum()
    assert colored > 500 if measured else colored == 0
