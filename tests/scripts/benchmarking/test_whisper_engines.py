import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.models import load_recognizer, open_model
from app.recognizer import Options, Samples
from scripts.benchmarking.baselines import Source, make_baselines, source_of
from scripts.benchmarking.engines import WHISPER, EngineSpec, artifact_spec, load
from scripts.benchmarking.whisper_baselines import WHISPER_BASELINES
from scripts.speech.recognition import text_of
from tests.checkpoints import RATE_HZ, babbling, clips, exporting
from tests.once import made_once
from tests.whisper_checkpoints import make_whisper, whisper_artifact

CLIP = babbling(2.0, seed=3)
BY_KEY = {baseline.key: baseline for baseline in WHISPER_BASELINES}
MADE = ["optimum_fp32", "optimum_int8"]


@pytest.fixture(scope="module")
def source(checkpoints: Path) -> Source:
    """The baselines of optimum, of a tiny checkpoint, made once."""
    checkpoint = make_whisper(checkpoints)

    def make(path: Path) -> None:
        with exporting():
            assert make_baselines(source_of(checkpoint, path, clips(checkpoints)), WHISPER_BASELINES, MADE) == {}

    return source_of(checkpoint, made_once(checkpoints / "baselines" / "whisper", make), clips(checkpoints))


def test_optimum_writes_what_the_transformers_pipeline_writes(source: Source) -> None:
    texts = {}
    for key in ("transformers", "optimum_fp32"):
        engine = load(BY_KEY[key].spec(source, "tr"), threads=1, callers=1)
        texts[key] = engine.text(CLIP)
        assert engine.output(CLIP) == engine.compute(CLIP) == texts[key]
    assert texts["transformers"].strip()
    assert texts["optimum_fp32"] == texts["transformers"]


@pytest.mark.parametrize(("language", "asked"), [("tr", {"language": "tr", "task": "transcribe"}), ("", {})])
def test_pipelines_are_asked_for_the_language(
    language: str, asked: dict[str, str], source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    class Pipeline:
        feature_extractor = SimpleNamespace(sampling_rate=RATE_HZ)

        def __call__(self, inputs: dict[str, Any], generate_kwargs: dict[str, str]) -> dict[str, str]:
            given.append((inputs["sampling_rate"], generate_kwargs))
            return {"text": " the"}

    monkeypatch.setattr("transformers.pipeline", lambda *_, **__: Pipeline())
    assert load(BY_KEY["transformers"].spec(source, language), 1, 1).text(CLIP) == " the"
    assert given == [(RATE_HZ, asked)]


def test_the_recipe_quantizes_every_file_of_the_export(source: Source) -> None:
    fp32, int8 = (BY_KEY[key].spec(source) for key in MADE)
    assert {path.name for path in int8.files} == {path.name for path in fp32.files}
    assert len([path for path in int8.files if path.suffix == ".onnx"]) == 4
    assert int8.size_bytes < 0.6 * fp32.size_bytes
    assert isinstance(load(int8, 1, 1).text(CLIP), str)


def test_dikte_is_measured_as_it_serves(checkpoints: Path) -> None:
    model = open_model(whisper_artifact(checkpoints))
    engine = load(artifact_spec("onnx_int8", model, WHISPER, "tr"), threads=1, callers=1)
    expected = text_of(load_recognizer(model, "onnx_int8", 1), CLIP, Options(language="tr"))
    assert engine.text(CLIP) == engine.compute(CLIP) == expected


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Modules in place of faster-whisper and OpenVINO GenAI, which are not installed here; what they were given."""
    given: list[dict[str, Any]] = []

    class WhisperModel:
        def __init__(self, folder: str, **options: Any) -> None:
            given.append({"folder": folder} | options)

        def transcribe(self, samples: Samples, **options: Any) -> tuple[Iterator[Any], None]:
            given.append(options)
            return iter([SimpleNamespace(text=" the"), SimpleNamespace(text=f" {len(samples)}")]), None

    class WhisperPipeline:
        def __init__(self, folder: Path, device: str, **options: Any) -> None:
            given.append({"folder": folder, "device": device} | options)

        def generate(self, samples: Samples, **options: Any) -> str:
            given.append(options)
            return f" the {len(samples)}"

    for name, attribute in (("faster_whisper", WhisperModel), ("openvino_genai", WhisperPipeline)):
        module = ModuleType(name)
        setattr(module, attribute.__name__, attribute)
        monkeypatch.setitem(sys.modules, name, module)
    yield given


def spec(loader: str, language: str = "en") -> EngineSpec:
    return EngineSpec("x", "X", WHISPER, loader, Path("model"), (), language=language)


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_faster_whisper_has_its_fastest_settings(kind: str, fakes: list[dict[str, Any]]) -> None:
    engine = load(spec(f"faster_whisper_{kind}"), threads=2, callers=3)
    assert engine.text(np.zeros(5, np.float32)) == " the 5"
    loaded, asked = fakes
    assert loaded == {"folder": "model", "device": "cpu", "compute_type": kind, "cpu_threads": 2, "num_workers": 3}
    assert (asked["language"], asked["beam_size"], asked["without_timestamps"]) == ("en", 1, True)
    assert asked["condition_on_previous_text"] is False


@pytest.mark.parametrize(("language", "asked"), [("en", {"language": "<|en|>", "task": "transcribe"}), ("", {})])
def test_openvino_genai(language: str, asked: dict[str, str], fakes: list[dict[str, Any]]) -> None:
    engine = load(spec("openvino_genai", language), threads=2, callers=1)
    assert engine.text(np.zeros(5, np.float32)) == engine.text(np.zeros(5, np.float32)) == " the 5"
    assert fakes == [{"folder": Path("model"), "device": "CPU", "INFERENCE_NUM_THREADS": 2}, asked, asked]
