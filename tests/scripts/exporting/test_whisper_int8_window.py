"""Cross-attention in INT8, in graphs whose weights are still float32."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.whisper import WhisperFamily
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.graphs import LOG_WEIGHTS_INPUT, CachedGraphs, Shape
from app.families.whisper.padding import Layout, condensed_layout, full_layout
from app.models import open_model
from app.runtimes.graph import Tensors
from app.runtimes.onnx import OnnxGraph
from scripts.exporting.onnx_files import save
from scripts.exporting.whisper_graphs import trace_whisper
from tests.whisper_checkpoints import POSITIONS, make_whisper

TOKENS = np.arange(40, 60)[np.newaxis]
LAYOUTS = {"condensed": condensed_layout(30, POSITIONS), "full": full_layout(POSITIONS)}


@dataclass(frozen=True)
class Forms:
    """The graphs of one model with a window in float32 and in INT8."""

    shape: Shape
    fp32: CachedGraphs
    int8: CachedGraphs


@pytest.fixture(scope="module")
def forms(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    checkpoint = make_whisper(checkpoints)
    family = open_model(checkpoint).family
    assert isinstance(family, WhisperFamily)
    shape, model, folder = family.shape, load_checkpoint(checkpoint), tmp_path_factory.mktemp("graphs")
    graphs = []
    for int8_window in (False, True):
        loaded = {}
        for name, traced in trace_whisper(model, shape.query_layers, int8_window=int8_window).items():
            path = folder / f"{name}_{int8_window}.onnx"
            save(traced, path)
            loaded[name] = OnnxGraph(path, threads=1)
        graphs.append(CachedGraphs(loaded, shape))
    return Forms(shape, *graphs)


def features_of(layout: Layout) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, (80, 2 * len(layout.positions))).astype(np.float32)


def restored(window: Tensors, shape: Shape) -> dict[str, NDArray[np.float32]]:
    """A window in INT8 as the float32 graphs take it: with an element for the log-weights."""
    floats = {}
    for layer in range(shape.layers):
        for name, last in ((f"cross_key_{layer}", window[LOG_WEIGHTS_INPUT]), (f"cross_value_{layer}", np.float32(0))):
            values = window[name] * window[f"{name}_scale"]
            element = np.broadcast_to(last, values.shape[:-1])[..., np.newaxis]
            floats[name] = np.concatenate([values, element], axis=-1)
    return floats


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_keys_and_values_are_off_by_half_a_step_at_most(forms: Forms, layout: Layout) -> None:
    features = features_of(layout)
    floats, window = forms.fp32.encode(features, layout), forms.int8.encode(features, layout)
    for name, expected in floats.items():
        values, scale = window[name], window[f"{name}_scale"]
        assert values.dtype == np.int8
        assert np.abs(values).max() == 127
        assert (np.abs(values * scale - expected[..., :-1]) <= scale * 0.501).all()


@pytest.mark.parametrize("hypotheses", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_decoder_multiplies_by_the_rounded_values_exactly_on_this_cpu(
    forms: Forms, layout: Layout, hypotheses: int
) -> None:
    window = forms.int8.encode(features_of(layout), layout)
    tokens = np.random.default_rng(hypotheses).integers(40, 60, (hypotheses, 6))
    logits = []
    for graphs, encoded in ((forms.fp32, restored(window, forms.shape)), (forms.int8, window)):
        session = graphs.session(encoded, hypotheses, capacity=7)
        prompt = session(tokens, [0, 5])
        step = session(tokens[:, :1], [0])
        logits.append(np.concatenate([prompt, step], axis=1))
    np.testing.assert_allclose(logits[1], logits[0], atol=2e-3)


def test_attention_scores_are_those_of_the_rounded_keys(forms: Forms) -> None:
    layout = LAYOUTS["condensed"]
    window = forms.int8.encode(features_of(layout), layout)
    scores = []
    for graphs, encoded in ((forms.fp32, restored(window, forms.shape)), (forms.int8, window)):
        session = graphs.session(encoded, 1, capacity=TOKENS.size)
        session(TOKENS, [0])
        scores.append(session.attention_scores()[:, :, :30])  # log-weights are in the float32 form only
    np.testing.assert_allclose(scores[1], scores[0], atol=2e-3)


@pytest.mark.parametrize("hypotheses", [1, 2])
def test_a_call_may_have_more_tokens_than_the_window_has_positions(forms: Forms, hypotheses: int) -> None:
    layout = condensed_layout(0, POSITIONS)
    window = forms.int8.encode(features_of(layout), layout)
    tokens = np.tile(np.random.default_rng(1).integers(40, 60, (1, 100)), (hypotheses, 1))
    assert tokens.size > len(layout.positions)
    at_once = forms.int8.session(window, hypotheses, capacity=100)(tokens, range(100))
    session = forms.fp32.session(restored(window, forms.shape), hypotheses, capacity=100)
    by_step = np.concatenate([session(tokens[:, [index]], [0]) for index in range(100)], axis=1)
    np.testing.assert_allclose(at_once, by_step, atol=2e-3)


def test_sessions_leave_the_window_as_it_is(forms: Forms) -> None:
    layout = LAYOUTS["condensed"]
    window = forms.int8.encode(features_of(layout), layout)
    before = {name: values.copy() for name, values in window.items()}
    first, second = (forms.int8.session(window, 1, capacity=TOKENS.size)(TOKENS, [5]) for _ in range(2))
    assert (first == second).all()
    for name, values in before.items():
        assert (window[name] == values).all()


def test_a_silent_window_has_finite_scales(forms: Forms) -> None:
    layout = LAYOUTS["condensed"]
    window = forms.int8.encode(np.zeros((80, 2 * len(layout.positions)), np.float32), layout)
    assert all(np.isfinite(values).all() for values in window.values())
    assert np.isfinite(forms.int8.session(window, 1, capacity=20)(TOKENS, [0])).all()
