from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.errors import InvalidParameter
from app.families.whisper import find_graphs
from app.families.whisper.graphs import CachedGraphs, Shape, WhisperGraphs
from app.families.whisper.log_mel import Features
from app.families.whisper.optimum_graphs import (
    DECODER_MODEL,
    DECODER_WITH_PAST,
    ENCODER_MODEL,
    MERGED_DECODER,
    OPTIMUM_LAYOUTS,
    OptimumGraphs,
    past_names,
    present_name,
)
from app.families.whisper.padding import full_layout
from app.families.whisper.recognizer import WhisperRecognizer
from app.models import load_recognizer, open_model
from app.recognizer import Options
from app.runtimes.graph import Tensor
from app.runtimes.onnx import OnnxGraph
from app.runtimes.registry import BACKENDS, is_int8
from tests.optimum_whisper import WITH_PAST, WITHOUT_PAST, exported_by_optimum, optimum_folder, quantized_by_optimum
from tests.whisper_checkpoints import make_whisper

MERGED, SPLIT, ALONE = OPTIMUM_LAYOUTS
SHAPE = Shape(layers=2, heads=2, width=64, alignment_heads=())
FLOAT_DIFFERENCE = 3e-3
"""Largest difference of logits, which are up to 30: only the order of summation differs."""
CASES = [(MERGED, WITH_PAST), (SPLIT, WITH_PAST), (ALONE, WITH_PAST), (ALONE, WITHOUT_PAST)]
NAMES = ["merged", "split", "no with-past file", "exported without past"]


def graphs_in(folder: Path, layout: Sequence[str]) -> OptimumGraphs:
    return OptimumGraphs({name: OnnxGraph(folder / f"{name}.onnx", threads=1) for name in layout}, SHAPE)


def features() -> Features:
    """Random features of the longest window."""
    return np.random.default_rng(1).normal(0, 0.5, (80, 3_000)).astype(np.float32)


def reference(checkpoints: Path) -> CachedGraphs:
    family = open_model(make_whisper(checkpoints)).family
    (loaded,) = BACKENDS["pytorch"].load(open_model(make_whisper(checkpoints)).artifact, family, [1])
    return CachedGraphs(loaded, SHAPE)


def decode(graphs: WhisperGraphs, hypotheses: int) -> list[NDArray[np.float32]]:
    """The logits of a prompt, of several steps of a beam, and of several tokens at once."""
    session = graphs.session(graphs.encode(features(), full_layout(1500)), hypotheses, capacity=16)
    logits = [session(np.tile([[290, 5, 9, 30]], (hypotheses, 1)), [0, 3])]
    for step in range(4):
        tokens = [[7 + step + 3 * row] for row in range(hypotheses)]
        logits.append(session(np.array(tokens), [0]))
        session.reorder([(row + step) % hypotheses for row in range(hypotheses)])
    session.reorder([hypotheses - 1] * hypotheses)
    logits.append(session(np.tile([[1, 2, 3]], (hypotheses, 1)), [0, 2]))
    return logits


@pytest.mark.parametrize("hypotheses", [1, 3])
@pytest.mark.parametrize(("layout", "task"), CASES, ids=NAMES)
def test_every_set_of_files_computes_what_the_checkpoint_computes(
    layout: tuple[str, ...], task: str, hypotheses: int, checkpoints: Path
) -> None:
    expected = decode(reference(checkpoints), hypotheses)
    computed = decode(graphs_in(exported_by_optimum(checkpoints, task), layout), hypotheses)
    for one, two in zip(expected, computed, strict=True):
        assert two.dtype == np.float32
        np.testing.assert_allclose(two, one, atol=FLOAT_DIFFERENCE)


@pytest.mark.parametrize(("layout", "task"), CASES, ids=NAMES)
def test_the_service_loads_what_is_in_the_folder(
    layout: tuple[str, ...], task: str, checkpoints: Path, tmp_path: Path
) -> None:
    folder = optimum_folder(checkpoints, tmp_path / "model", layout, task)
    model = open_model(folder)
    assert model.family.graphs == layout
    assert model.files_of("onnx") == [f"{name}.onnx" for name in layout]
    recognizer = load_recognizer(model, "onnx", threads=1)
    assert isinstance(recognizer, WhisperRecognizer)
    assert not recognizer.model.can_condense
    assert not recognizer.model.condenses
    with pytest.raises(InvalidParameter, match="cannot time words"):
        recognizer.check_options(Options(word_times=True))


def test_files_that_the_quantizer_of_optimum_names_are_the_int8_files(checkpoints: Path, tmp_path: Path) -> None:
    names = [f"{name}_quantized" for name in MERGED]
    model = open_model(optimum_folder(checkpoints, tmp_path / "model", names))
    assert model.family.graphs == MERGED
    assert model.files_of("onnx_int8") == [f"{name}.onnx" for name in names]
    assert all(map(is_int8, model.files_of("onnx_int8")))
    load_recognizer(model, "onnx_int8", threads=1)
    for name in MERGED:  # Dikte's own name comes first
        (model.artifact.folder / f"{name}_quantized.onnx").rename(model.artifact.folder / f"{name}_int8.onnx")
    assert model.files_of("onnx_int8") == [f"{name}_int8.onnx" for name in MERGED]


@pytest.mark.parametrize("layout", [MERGED, SPLIT], ids=["merged", "split"])
def test_quantized_files_decode_alike_step_by_step_and_at_once(layout: tuple[str, ...], checkpoints: Path) -> None:
    folder = quantized_by_optimum(checkpoints)
    graphs = OptimumGraphs({name: OnnxGraph(folder / f"{name}_quantized.onnx", threads=1) for name in layout}, SHAPE)
    one, three = decode(graphs, 1), decode(graphs, 3)
    assert all(np.isfinite(logits).all() for logits in (*one, *three))
    np.testing.assert_array_equal(one[0][0], three[0][0])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["encoder", "decoder", ENCODER_MODEL, MERGED_DECODER], ("encoder", "decoder")),
        ([ENCODER_MODEL, DECODER_MODEL, DECODER_WITH_PAST, MERGED_DECODER], MERGED),
        ([ENCODER_MODEL, DECODER_MODEL, DECODER_WITH_PAST], SPLIT),
        ([ENCODER_MODEL, DECODER_MODEL], ALONE),
        ([f"{name}_quantized" for name in SPLIT], SPLIT),
        ([*SPLIT, MERGED_DECODER, *(f"{name}_quantized" for name in SPLIT)], SPLIT),
        ([*MERGED, *(f"{name}_int8" for name in ALONE)], MERGED),
        ([DECODER_MODEL], ("encoder", "decoder")),
        ([], ("encoder", "decoder")),
    ],
)
def test_the_layout_is_the_first_whose_files_are_there(
    names: list[str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / f"{name}.onnx").touch()
    assert find_graphs(tmp_path) == expected


class FakeGraph:
    """A graph that has only names."""

    metadata: Mapping[str, str] = {}
    compiles_shapes = False

    def __init__(self, inputs: Sequence[str], outputs: Sequence[str], dtype: str = "float32") -> None:
        self.inputs = {name: Tensor(dtype, (None,)) for name in inputs}
        self.outputs = tuple(outputs)

    def __call__(self, feeds: Mapping[str, Any], outputs: Sequence[str]) -> dict[str, Any]:
        raise AssertionError


ENCODER = FakeGraph(["input_features"], ["last_hidden_state"])
PAST = past_names(SHAPE, "decoder", "encoder")
STEP_INPUTS = ["input_ids", "encoder_hidden_states", "use_cache_branch", "cache_position", *PAST]
OUTPUTS = ["logits", *map(present_name, PAST)]


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (FakeGraph([*STEP_INPUTS, "past_key_values.2.decoder.key"], OUTPUTS), "unknown inputs past_key_values.2"),
        (FakeGraph(STEP_INPUTS, ["logits"]), "lacks the outputs present.0.decoder.key"),
        (FakeGraph(STEP_INPUTS, OUTPUTS, "float16"), "half precision"),
    ],
    ids=["more layers", "no keys and values", "float16"],
)
def test_graphs_of_another_form_are_refused(decoder: FakeGraph, message: str) -> None:
    OptimumGraphs({ENCODER_MODEL: ENCODER, MERGED_DECODER: FakeGraph(STEP_INPUTS, OUTPUTS)}, SHAPE)
    with pytest.raises(ArtifactError, match=message):
        OptimumGraphs({ENCODER_MODEL: ENCODER, MERGED_DECODER: decoder}, SHAPE)


@pytest.mark.parametrize("layout", [MERGED, ALONE], ids=["merged", "alone"])
def test_a_session_has_no_attention_scores(layout: tuple[str, ...], checkpoints: Path) -> None:
    graphs = graphs_in(exported_by_optimum(checkpoints), layout)
    session = graphs.session(graphs.encode(features(), full_layout(1500)), 1, capacity=4)
    with pytest.raises(ArtifactError, match="no queries"):
        session.attention_scores()
