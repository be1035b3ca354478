"""Every CTC architecture, from checkpoint to emissions: exported by `export.py`, and computed by every backend."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from optimum.exporters.onnx import main_export
from transformers import (
    AutoModelForCTC,
    HubertConfig,
    MCTCTConfig,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    PretrainedConfig,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    SequenceFeatureExtractor,
    Wav2Vec2BertConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING

from app.artifacts import Artifact, ArtifactError, open_artifact
from app.families.ctc import MODEL_TYPES
from app.families.ctc.decoding import Emissions, decode_ctc
from app.families.ctc.settings import SPECTRAL_TYPES, CtcSettings, read_framing
from app.families.ctc.windows import Framing, cut, stitch
from app.models import open_model, warm_up
from app.runtimes.registry import BACKENDS
from scripts.export import export
from scripts.exporting.graph_export import DYNAMIC, quantize_to
from scripts.exporting.matrix_form import has_matrix_form
from scripts.exporting.onnx_files import count_operators
from scripts.training.checkpoints import new_tokenizer
from tests.checkpoints import (
    ARCHITECTURES,
    SHAPES,
    babbling,
    built,
    by_optimum,
    exporting,
    options,
    products_in_matrix_form,
    served,
    sweep,
)
from tests.recognizers import ctc_recognizer, ctc_settings
from tests.reference import AGREEMENT, SAME, integer_products, reference

# Warnings of PyTorch when SEW-D of transformers is imported and run.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning"),
]

CLIPS = [babbling(duration_s, seed) for seed, duration_s in enumerate((0.065, 0.3, 1.0, 2.5))]
"""The first has three frames, which is the least that one of the models takes."""
LENGTHS = (400, 401, 719, 720, 1039, 1040, 1359, 1360, 1679, 1680, 1681, 2319, 2320, 3600, 5839, 5840, 16_000, 16_319)
"""Lengths in samples at and around changes of the number of frames, for a hop of 320, 640, 1280 or 2560."""


@pytest.fixture(scope="module", params=sweep(ARCHITECTURES))
def artifact(request: pytest.FixtureRequest, checkpoints: Path) -> Artifact:
    return open_artifact(served(request.param, checkpoints))


@pytest.fixture(scope="module")
def settings(artifact: Artifact) -> CtcSettings:
    return ctc_settings(artifact.folder)


def test_the_settings_give_the_frames_that_the_model_gives(artifact: Artifact, settings: CtcSettings) -> None:
    model = AutoModelForCTC.from_pretrained(artifact.folder, dtype=torch.float32)
    check_frames(model, settings.framing)


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_settings_give_the_frames_behind_three_strided_layers(kernel: int) -> None:
    config, options, _ = ARCHITECTURES["wav2vec2 with strided adapter"]
    of_three = config(**(options | {"num_adapter_layers": 3, "adapter_kernel_size": kernel}))
    check_frames(AutoModelForCTC.from_config(of_three), read_framing(of_three.to_dict()))


def check_frames(model: PreTrainedModel, framing: Framing) -> None:
    """Check that the model gives as many frames as the framing, and cannot compute clips that are too short for it."""
    model.eval()
    clip = torch.from_numpy(babbling(2.0, 1))[np.newaxis]
    for samples in LENGTHS:
        if frames := framing.frames(samples):
            with torch.inference_mode():
                assert model(clip[:, :samples]).logits.shape[1] == frames, samples
        else:
            with pytest.raises(RuntimeError):
                model(clip[:, :samples])


def test_every_product_is_computed_in_integers(artifact: Artifact) -> None:
    """Linear layers and, in the matrix form, convolutions."""
    model = AutoModelForCTC.from_pretrained(artifact.folder, dtype=torch.float32)
    products = sum(isinstance(module, torch.nn.Linear) for module in model.modules())
    if has_matrix_form(model.config):
        products = products_in_matrix_form(model.config)
    counts = artifact.manifest["quantization"]["operators"]
    int8 = count_operators(artifact.folder / "model_int8.onnx")
    assert integer_products(counts) == products == integer_products(int8)
    assert "ConvInteger" not in counts


@pytest.fixture(scope="module")
def expected(artifact: Artifact) -> list[Emissions]:
    return reference(artifact.folder, CLIPS)


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_engine_computes_what_transformers_computes(
    artifact: Artifact, settings: CtcSettings, expected: list[Emissions], backend: str
) -> None:
    recognizer = ctc_recognizer(artifact.folder, backend)
    warm_up(recognizer, artifact)
    actual = recognizer.emissions(CLIPS)
    same, agreement = SAME[backend], AGREEMENT[backend]
    for samples, emissions, by_transformers in zip(CLIPS, actual, expected, strict=True):
        assert emissions.dtype == np.float32
        assert emissions.shape == by_transformers.shape
        assert len(emissions) == settings.framing.frames(len(samples)) > 0
        np.testing.assert_allclose(emissions, by_transformers, atol=same, rtol=0)
    tokens, expected_tokens = (np.concatenate(emissions).argmax(axis=1) for emissions in (actual, expected))
    assert (tokens == expected_tokens).mean() >= agreement
    assert len(set(tokens)) > 5, "the model gives different results"
    assert decode_ctc(actual[-1], settings.vocabulary, settings.frame_s)


@pytest.mark.parametrize("shape", ["sew", "sew, layers of wav2vec2"])
def test_the_end_of_a_squeezed_window_is_not_in_the_middle_of_a_clip(shape: str, checkpoints: Path) -> None:
    """The last frames of a window, for which the layers have none, are those of its overlap that are left out."""
    folder = served(shape, checkpoints)
    recognizer, settings = ctc_recognizer(folder, "onnx_int8"), ctc_settings(folder)
    samples, framing, overlap = babbling(4.0, 3), settings.framing, 12
    windows = cut(samples, framing, window_frames=49 + framing.min_frames, overlap_frames=overlap)
    assert {framing.frames(len(window.samples)) % framing.min_frames for window in windows} != {0}
    emissions = recognizer.emissions([window.samples for window in windows])
    stitched = stitch(windows, emissions, framing.hop, overlap, settings.vocabulary.blank)
    assert len(stitched) == framing.frames(len(samples))
    model = AutoModelForCTC.from_pretrained(folder, dtype=torch.float32)
    of_rest = model.get_parameter("lm_head.bias").detach().log_softmax(dim=0).numpy()
    is_rest = np.abs(stitched - of_rest).max(axis=1) < 1e-3
    assert not is_rest[: -framing.min_frames].any()
    assert any((np.abs(part[-1] - of_rest) < 1e-3).all() for part in emissions), "but windows have such frames"


def test_every_architecture_on_samples_is_tried() -> None:
    """Each CTC model of transformers is tested here, or refused for the features that it needs."""
    mapping: dict[Any, Any] = dict(MODEL_FOR_CTC_MAPPING.items())
    types = {config.model_type: model.main_input_name for config, model in mapping.items()}
    assert types.keys() == set(MODEL_TYPES), "the family knows all of them by name"
    spectral = {model_type for model_type, wanted in types.items() if wanted == "input_features"}
    assert spectral == SPECTRAL_TYPES
    tried = {architecture.config.model_type for architecture in ARCHITECTURES.values()}
    assert types.keys() - spectral == tried


def test_settings_that_do_not_describe_the_model_are_found(checkpoints: Path, tmp_path: Path) -> None:
    """HuBERT has no strided adapter, even if its config has one."""
    folder = shutil.copytree(built("hubert, group norm", checkpoints), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(
        json.dumps(config | {"add_adapter": True, "output_hidden_size": 32}), encoding="utf-8"
    )
    with exporting(), pytest.raises(ArtifactError, match="its settings say"):
        export(str(folder), tmp_path / "out", options(checkpoints))
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("config", "extractor"),
    [
        (Wav2Vec2BertConfig(), SeamlessM4TFeatureExtractor()),
        (Wav2Vec2BertConfig(), None),
        (MCTCTConfig(), None),
        (ParakeetCTCConfig(), ParakeetFeatureExtractor()),
        (HubertConfig(), SeamlessM4TFeatureExtractor()),
    ],
    ids=lambda part: type(part).__name__,
)
def test_models_on_spectral_features_are_refused(
    config: PretrainedConfig, extractor: SequenceFeatureExtractor | None, checkpoints: Path, tmp_path: Path
) -> None:
    for part in (config, new_tokenizer("abc"), extractor):
        if part is not None:
            part.save_pretrained(tmp_path / "checkpoint")
    message = f"{config.model_type}, .*needs spectral features; Dikte serves only models on raw waveform so far"
    with pytest.raises(ArtifactError, match=message):
        open_model(tmp_path / "checkpoint")
    with pytest.raises(ArtifactError, match=message):
        export(str(tmp_path / "checkpoint"), tmp_path / "out", options(checkpoints))


class TestByOptimum:
    """The output folder of `optimum-cli export onnx`."""

    @pytest.mark.parametrize("shape", SHAPES)
    def test_it_is_served_as_it_is(self, shape: str, checkpoints: Path) -> None:
        folder = by_optimum(shape, checkpoints)
        settings, of_checkpoint = ctc_settings(folder), ctc_settings(built(shape, checkpoints))
        assert settings.vocabulary == of_checkpoint.vocabulary
        assert settings.features == of_checkpoint.features
        recognizer = ctc_recognizer(folder, "onnx")
        warm_up(recognizer, open_artifact(folder))
        by_transformers = reference(built(shape, checkpoints), CLIPS)
        for emissions, expected in zip(recognizer.emissions(CLIPS), by_transformers, strict=True):
            np.testing.assert_allclose(emissions, expected, atol=SAME["onnx"], rtol=0)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_it_can_be_quantized(self, shape: str, checkpoints: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(by_optimum(shape, checkpoints), tmp_path / "artifact")
        model = AutoModelForCTC.from_pretrained(built(shape, checkpoints))
        linear = sum(isinstance(module, torch.nn.Linear) for module in model.modules())
        assert quantize_to(onnx.load(folder / "model.onnx"), folder / "model_int8.onnx", DYNAMIC) == linear
        int8, fp32 = (ctc_recognizer(folder, backend) for backend in ("onnx_int8", "onnx"))
        warm_up(int8, open_artifact(folder))
        tokens, expected = (np.concatenate(loaded.emissions(CLIPS)).argmax(axis=1) for loaded in (int8, fp32))
        assert (tokens == expected).mean() >= AGREEMENT["onnx_int8"]

    def test_weights_may_lie_beside_the_model(self, checkpoints: Path, tmp_path: Path) -> None:
        """Optimum stores models of more than 2 GB like this."""
        folder = shutil.copytree(by_optimum("small", checkpoints), tmp_path / "artifact")
        model = onnx.load(folder / "model.onnx")
        onnx.save(
            model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
        )
        assert (folder / "model.onnx_data").stat().st_size > 100_000
        whole, apart = (ctc_recognizer(path, "onnx") for path in (by_optimum("small", checkpoints), folder))
        for expected, emissions in zip(whole.emissions(CLIPS), apart.emissions(CLIPS), strict=True):
            np.testing.assert_array_equal(emissions, expected)

    def test_an_export_without_dynamic_axes_is_refused(self, checkpoints: Path, tmp_path: Path) -> None:
        task = "automatic-speech-recognition"
        with exporting():
            main_export(str(built("small", checkpoints)), tmp_path / "fixed", task=task, no_dynamic_axes=True)
        with pytest.raises(ArtifactError, match="was exported for clips of exactly 16000 samples"):
            ctc_recognizer(tmp_path / "fixed", "onnx")
