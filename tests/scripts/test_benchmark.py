import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Pipe
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from app.settings import BUNDLED_MODEL
from scripts.benchmark import main
from scripts.benchmarking.benchmark_report import LATENCY_PLOT, STEM, TRADE_OFF_PLOT
from scripts.benchmarking.ctc_engines import file_spec
from scripts.benchmarking.engines import EngineSpec, weights_of
from scripts.benchmarking.measurements import Engines
from scripts.benchmarking.process import EngineProcess
from scripts.benchmarking.service_memory import service_peak_bytes
from scripts.benchmarking.worker import serve
from tests.checkpoints import RATE_HZ, babbling, baselines, built, clips, exported
from tests.conftest import ROOT
from tests.scripts.benchmarking.test_process import ended
from tests.whisper_checkpoints import make_whisper, whisper_artifact

MIB = 1 << 20


def command(*arguments: object) -> list[str]:
    return [sys.executable, "scripts/benchmark.py", *map(str, arguments)]


def refusal(*arguments: object) -> str:
    """The error message of a command that refuses to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command(*arguments)[1:])
        patch.setattr(signal, "signal", lambda *_: None)
        with pytest.raises(SystemExit) as exit_:
            main()
    assert isinstance(exit_.value.code, str)
    return exit_.value.code


def test_a_file_is_loaded_with_the_settings_that_go_with_it(checkpoints: Path, tmp_path: Path) -> None:
    artifact, checkpoint = exported("cahya_like", checkpoints), built("cahya_like", checkpoints)
    usual = file_spec("onnx", artifact / "model.onnx", checkpoint)
    assert (usual.loader, usual.backend, usual.settings) == ("backend", "onnx", artifact)
    assert usual.size_bytes == (artifact / "model.onnx").stat().st_size
    swapped = file_spec("onnx", artifact / "model_int8.onnx", checkpoint)
    assert (swapped.loader, swapped.settings) == ("onnx_file", artifact)
    alone = tmp_path / "mine.onnx"
    alone.write_bytes(b"12")
    alone.with_name("mine.onnx_data").write_bytes(b"345")
    foreign = file_spec("onnx", alone, checkpoint)
    assert (foreign.loader, foreign.settings, foreign.size_bytes) == ("onnx_file", checkpoint, 5)
    with pytest.raises(FileNotFoundError):
        file_spec("onnx", tmp_path / "nothing.onnx", checkpoint)
    with pytest.raises(ValueError, match=r"model_openvino_int8\.xml"):
        file_spec("openvino", alone, checkpoint)


def test_an_openvino_model_is_its_graph_and_its_weights(checkpoints: Path, tmp_path: Path) -> None:
    artifact = shutil.copytree(exported("cahya_like", checkpoints), tmp_path / "artifact")
    graph = artifact / "model_openvino_int8.xml"
    graph.write_bytes(b"12")
    graph.with_suffix(".bin").write_bytes(b"345")
    spec = file_spec("openvino", graph, artifact)
    assert (spec.loader, spec.backend, spec.settings, spec.size_bytes) == ("backend", "openvino", artifact, 5)


def test_the_size_of_a_checkpoint_is_that_of_the_weights_that_are_read(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "training_args.bin"):
        (tmp_path / name).write_bytes(b"1")
    assert [path.name for path in weights_of(tmp_path)] == ["pytorch_model.bin"]
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_bytes(b"1")
    assert len(weights_of(tmp_path)) == 2


@pytest.fixture(scope="module")
def folder(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the whole command on a tiny checkpoint. One of the baselines is a broken file."""
    out = tmp_path_factory.mktemp("benchmark")
    source = baselines("cahya_like", checkpoints)
    mine = shutil.copytree(source.folder, out / "baselines" / source.folder.name)
    (mine / "matmul_quint8.onnx").write_bytes(b"no model")
    artifact = exported("cahya_like", checkpoints)
    arguments = ["--checkpoint_dir", built("cahya_like", checkpoints), "--audio_path", "samples/short.wav"]
    arguments += ["--onnx_path", artifact / "model.onnx", "--onnx_int8_path", artifact / "model_int8.onnx"]
    arguments += [
        "--runs",
        "3",
        "--warm_up",
        "1",
        "--lengths_s",
        "1",
        "0.5",
        "--throughput_s",
        "0.05",
        "--callers",
        "2",
    ]
    arguments += ["--evaluate", "samples/manifest.jsonl", "--limit", "2", "--calibration", clips(checkpoints)]
    arguments += ["--only", "pytorch", "onnx", "onnx_int8", "matmul_qint8", "matmul_quint8"]
    subprocess.run(command(*arguments, "--no-service", "--out", out), cwd=ROOT, check=True)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    loaded: dict[str, Any] = json.loads((folder / f"{STEM}.json").read_text(encoding="utf-8"), parse_constant=refuse)
    return loaded


def test_every_engine_is_measured(report: dict[str, Any]) -> None:
    assert list(report["engines"]) == ["pytorch", "onnx", "onnx_int8", "matmul_quint8", "matmul_qint8"]
    for key, engine in report["engines"].items():
        if key == "matmul_quint8":
            continue
        assert engine["errors"] == []
        for name in ("size_bytes", "load_s", "start_bytes", "wide", "narrow"):
            assert 0 < engine[name] < float("inf"), (key, name)
        assert engine["start_bytes"] < engine["loaded_bytes"] <= engine["peak_bytes"]
        assert engine["clips"] == 2
        assert 0 <= engine["wer"]["low"] <= engine["wer"]["rate"] <= engine["wer"]["high"]
        assert [latency["length_s"] for latency in engine["latencies"]] == [0.5, 1.0]
        for latency in engine["latencies"]:
            runs_s = latency["runs_s"]
            assert len(runs_s) == 3
            assert min(runs_s) > 0
            assert latency["p50_s"] == pytest.approx(np.median(runs_s))
            assert latency["p95_s"] == pytest.approx(np.percentile(runs_s, 95))
            assert latency["rtfx"] == pytest.approx(latency["length_s"] / latency["p50_s"])


def test_an_engine_that_fails_is_reported_and_the_others_stay(folder: Path, report: dict[str, Any]) -> None:
    broken = report["engines"]["matmul_quint8"]
    assert broken["latencies"] == []
    assert broken["load_s"] is None
    assert "matmul_quint8.onnx" in broken["errors"][0]
    missing = (folder / f"{STEM}.md").read_text(encoding="utf-8").split("## Not measured")[1]
    assert "MatMul, QUInt8" in missing
    assert "matmul_quint8.onnx" in missing


def test_ratios_are_those_of_the_medians(report: dict[str, Any]) -> None:
    p50_s = {key: engine["latencies"][-1]["p50_s"] for key, engine in report["engines"].items() if engine["latencies"]}
    assert report["compared_at_s"] == 1.0
    assert report["ratios"]["pytorch"]["pytorch"] == report["ratios"]["matmul_qint8"]["plain_int8"] == 1.0
    for key, taken_s in p50_s.items():
        assert report["ratios"][key]["pytorch"] == pytest.approx(taken_s / p50_s["pytorch"])
        assert report["ratios"][key]["plain_int8"] == pytest.approx(taken_s / p50_s["matmul_qint8"])
    assert [figure["key"] for figure in report["key_figures"]] == [
        "int8_latency_to_pytorch",
        "int8_latency_to_plain_int8",
        "int8_size_to_fp32",
        "int8_engine_memory_to_pytorch",
        "latency_at_1_s",
        "throughput",
    ]
    assert report["key_figures"][0]["value"] == pytest.approx(report["ratios"]["onnx_int8"]["pytorch"])


def test_engines_compute_the_same_thing(report: dict[str, Any]) -> None:
    agreements = {key: engine["agreement"] for key, engine in report["engines"].items()}
    assert report["setup"]["reference"] == "pytorch"
    assert agreements["pytorch"] == 1.0
    assert agreements["onnx"] >= 0.99
    assert agreements["onnx_int8"] >= 0.75, "random weights, rounded to seven bits"
    assert agreements["matmul_quint8"] is None


def test_the_report_describes_the_machine(folder: Path, report: dict[str, Any]) -> None:
    machine = report["machine"]
    assert machine["cores"] == len(os.sched_getaffinity(0))
    assert machine["processor"]
    assert machine["memory_bytes"] > 1 << 28
    assert machine["versions"]["numpy"] == np.__version__
    assert "onnxruntime" in machine["versions"]
    text = (folder / f"{STEM}.md").read_text(encoding="utf-8")
    for part in (machine["commit"], machine["processor"], "--runs 3", report["date"]):
        assert part in text


@pytest.mark.parametrize("name", [LATENCY_PLOT, TRADE_OFF_PLOT])
def test_the_pictures_show_something(name: str, folder: Path) -> None:
    pixels = imread(folder / name)[..., :3]
    assert pixels.shape[:2] == (720, 1080)
    assert len({color.tobytes() for color in pixels[::3, ::3].reshape(-1, 3)}) > 20
    assert f"]({name})" in (folder / f"{STEM}.md").read_text(encoding="utf-8")


def test_the_memory_of_the_service() -> None:
    peak = service_peak_bytes("onnx_int8", BUNDLED_MODEL, babbling(2.0, 1), RATE_HZ, callers=2, requests=2)
    assert 50 * MIB < peak < 1000 * MIB


BUNDLED = ("--checkpoint_dir", "models/tr-small", "--onnx_int8_path", "models/tr-small/model_int8.onnx")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@pytest.fixture
def benchmark(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """An endless benchmark that has started to measure."""
    endless = command(*BUNDLED, "--only", "onnx_int8", "--no-baselines", "--runs", 10**6, "--out", tmp_path)
    with subprocess.Popen(endless, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("Latency"):
            assert process.poll() is None
        yield process
        process.kill()


@pytest.mark.parametrize("whole_group", [True, False], ids=["Ctrl-C", "terminated"])
def test_it_ends_with_all_its_processes(whole_group: bool, benchmark: subprocess.Popen[str]) -> None:
    engines = children(benchmark.pid)
    assert len(engines) == 1
    if whole_group:
        os.killpg(benchmark.pid, signal.SIGINT)
    else:
        benchmark.terminate()
    assert benchmark.wait(60) == (130 if whole_group else 143)
    assert ended(engines[0])


def test_unusable_inputs_are_reported_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    silence, noise = tmp_path / "silence.wav", tmp_path / "noise.wav"
    soundfile.write(silence, np.zeros(RATE_HZ), RATE_HZ)
    noise.write_bytes(b"no audio")
    quick = (*BUNDLED, "--no-baselines", "--no-service", "--out", tmp_path / "out")
    assert "silence.wav begins with silence" in refusal(*quick, "--audio_path", silence)
    assert "noise.wav: " in refusal(*quick, "--audio_path", noise)
    assert "nothing.wav: No such file" in refusal(*quick, "--audio_path", tmp_path / "nothing.wav")
    assert "nothing.onnx" in refusal(*quick, "--onnx_path", tmp_path / "nothing.onnx")
    assert "nothing.jsonl" in refusal(*quick, "--evaluate", tmp_path / "nothing.jsonl")
    assert "no engine" in refusal(*quick, "--only", "matmul_qint8")
    assert not (tmp_path / "out").exists()


class EngineThread(EngineProcess):
    """An engine in a thread of this process, where PyTorch is already imported. In a new process, that is slow."""

    def __init__(self, spec: EngineSpec, threads: int, callers: int) -> None:
        self.spec = spec
        self._threads, self._callers = threads, callers
        self._connection, theirs = Pipe()
        self._thread = Thread(target=serve, args=(theirs,))
        self._thread.start()

    @property
    def pid(self) -> int:
        return os.getpid()

    def close(self) -> None:
        self._connection.close()
        self._thread.join()


def test_a_checkpoint_without_its_weights_is_no_reference(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.benchmark.Engines", partial(Engines, start=EngineThread))
    checkpoint = shutil.copytree(built("cahya_like", checkpoints), tmp_path / "checkpoint")
    weights = torch.load(checkpoint / "pytorch_model.bin")
    del weights["lm_head.weight"]
    torch.save(weights, checkpoint / "pytorch_model.bin")
    options = ("--only", "pytorch", "--no-baselines", "--no-service", "--out", tmp_path / "out")
    message = refusal("--checkpoint_dir", checkpoint, "--audio_path", ROOT / "samples/sample.wav", *options)
    assert message.startswith("benchmark failed: ")
    assert "needs lm_head.weight, which its files do not have" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [("--lengths_s", "0"), ("--runs", "0"), ("--throughput_s", "inf")])
def test_invalid_options_are_refused(
    wrong: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *BUNDLED, *wrong])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.slow  # a minute: each engine has a process of its own
def test_a_whisper_model_is_measured_with_its_own_baselines(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.benchmark.Engines", partial(Engines, start=EngineThread))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.chdir(ROOT)
    artifact, rows = whisper_artifact(checkpoints), []
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", babbling(7.0 if number else 2.0, seed=number), RATE_HZ)
        rows.append(json.dumps({"audio": f"{number}.wav", "text": "the and you"}))
    (speech := tmp_path / "speech.jsonl").write_text("\n".join(rows), encoding="utf-8")
    options = ["--checkpoint_dir", make_whisper(checkpoints), "--model_dir", artifact, "--out", tmp_path]
    options += ["--speech", speech, "--clips", 1, "--lengths_s", 2, 22, "--runs", 2, "--warm_up", 1]
    options += ["--throughput_s", 0.01, "--evaluate", speech, "--limit", 2, "--no-service"]
    options += ["--only", "onnx", "onnx_int8", "transformers", "stock_fp32"]
    monkeypatch.setattr(sys, "argv", [*map(str, ["benchmark.py", *options])])
    main()
    report = json.loads((tmp_path / f"{STEM}.json").read_text(encoding="utf-8"))
    assert list(report["engines"]) == ["onnx", "onnx_int8", "transformers"], "no baseline of another family"
    for engine in report["engines"].values():
        assert engine["errors"] == []
        assert [latency["length_s"] for latency in engine["latencies"]] == [2.0, 22.0]
        assert engine["clips"] == 2
        assert 0 <= engine["agreement"] <= 1
    assert report["engines"]["onnx_int8"]["size_bytes"] == sum(
        (artifact / name).stat().st_size for name in ("encoder_int8.onnx", "decoder_int8.onnx")
    )
    clips = report["setup"]["clips"]
    assert [(clip["length_s"], clip["count"]) for clip in clips] == [(2.0, 1), (22.0, 1)]
    assert clips[1]["mean_s"] == 22.0
    assert {"int8_latency_to_transformers_short", "fp32_wer_rise", "int8_wer_rise"} <= {
        figure["key"] for figure in report["key_figures"]
    }
    text = (tmp_path / f"{STEM}.md").read_text(encoding="utf-8")
    assert "/ transformers pipeline FP32" in text
    assert "tokens as onnx" in text


def test_files_of_a_whisper_model_are_named_by_their_folder(checkpoints: Path, tmp_path: Path) -> None:
    file = whisper_artifact(checkpoints) / "encoder_int8.onnx"
    options = ("--checkpoint_dir", make_whisper(checkpoints), "--no-baselines", "--out", tmp_path)
    assert "name its folder, with --model_dir" in refusal(*options, "--onnx_int8_path", file)
