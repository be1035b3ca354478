import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.whisper import WhisperFamily
from app.families.whisper.graphs import DECODER, ENCODER, STATEFUL_DECODER_INPUTS, CachedGraphs, tensor_names
from app.families.whisper.padding import condensed_layout
from app.models import open_model
from app.runtimes import openvino as runtime
from app.runtimes.graph import CachingGraph
from app.runtimes.openvino import OpenVinoGraph
from app.runtimes.registry import BACKENDS, openvino_int8_file
from scripts.exporting.exporter import Options
from scripts.exporting.whisper_exporter import WhisperExporter
from scripts.exporting.whisper_openvino import convert, make_whisper_openvino_int8
from tests.checkpoints import exporting
from tests.once import made_once
from tests.whisper_checkpoints import make_whisper

FLOAT_DIFFERENCE = 5e-3
"""Largest difference of logits and attention scores, which are up to some hundreds. Measured: 1.1e-3 of logits."""
INT8_CORRELATION = 0.8
"""Least correlation of all logits with those of the checkpoint. The weights of the tiny checkpoint are random and
large, so rounding them changes more than in a trained one."""
LAYOUT = condensed_layout(186, 1500)
"""Of 250 positions, some of which stand for others."""
FRAMES = 2 * len(LAYOUT.positions)

Decoded = list[NDArray[np.float32]]


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some CPUs would compute in bfloat16."""
    monkeypatch.setattr(runtime, "computes_in_bfloat16", lambda: False)


def family_of(checkpoints: Path) -> WhisperFamily:
    family = open_model(make_whisper(checkpoints)).family
    assert isinstance(family, WhisperFamily)
    return family


def reference(checkpoints: Path) -> CachedGraphs:
    family = family_of(checkpoints)
    (loaded,) = BACKENDS["pytorch"].load(open_model(make_whisper(checkpoints)).artifact, family, [1])
    return CachedGraphs(loaded, family.shape)


def in_openvino(folder: Path, checkpoints: Path) -> CachedGraphs:
    graphs: dict[str, CachingGraph] = {
        graph: OpenVinoGraph(folder / openvino_int8_file(graph), 1, lambda _: False, steps=graph == DECODER)
        for graph in (ENCODER, DECODER)
    }
    return CachedGraphs(graphs, family_of(checkpoints).shape)


def int8_files(checkpoints: Path) -> Path:
    """A folder with the INT8 files. Not to be changed."""

    def make(path: Path) -> None:
        path.mkdir(exist_ok=True)
        with exporting():
            make_whisper_openvino_int8(make_whisper(checkpoints), path, family_of(checkpoints).shape)

    return made_once(checkpoints / "whisper in openvino", make)


def decode(graphs: CachedGraphs, hypotheses: int) -> tuple[Decoded, Decoded]:
    """The logits and, for one hypothesis, the attention scores of a prompt, of several steps and of tokens at once."""
    features = np.random.default_rng(1).normal(0, 0.5, (80, FRAMES)).astype(np.float32)
    session = graphs.session(graphs.encode(features, LAYOUT), hypotheses, capacity=16)
    logits = [session(np.tile([[290, 5, 9, 30]], (hypotheses, 1)), [0, 3])]
    scores = [session.attention_scores()]
    for step in range(4):
        tokens = np.array([[7 + step + 3 * row] for row in range(hypotheses)])
        logits.append(session(tokens, [0]))
        scores.append(session.attention_scores())
        session.reorder([(row + step) % hypotheses for row in range(hypotheses)])
    logits.append(session(np.tile([[1, 2, 3]], (hypotheses, 1)), [0, 2]))
    return logits, scores if hypotheses == 1 else []


@pytest.mark.parametrize("hypotheses", [1, 3])
def test_in_float32_it_computes_what_the_checkpoint_computes(
    hypotheses: int, checkpoints: Path, tmp_path: Path
) -> None:
    level = logging.getLogger().level
    with exporting():
        converted = convert(make_whisper(checkpoints), family_of(checkpoints).shape)
    assert logging.getLogger().level == level
    for graph, model in converted.items():
        openvino.save_model(model, tmp_path / openvino_int8_file(graph), compress_to_fp16=False)
    expected, computed = (
        decode(graphs, hypotheses) for graphs in (reference(checkpoints), in_openvino(tmp_path, checkpoints))
    )
    for one, two in zip((*expected[0], *expected[1]), (*computed[0], *computed[1]), strict=True):
        np.testing.assert_allclose(two, one, atol=FLOAT_DIFFERENCE)


@pytest.mark.parametrize("hypotheses", [1, 3])
def test_with_weights_in_int8_it_computes_nearly_the_same(hypotheses: int, checkpoints: Path) -> None:
    expected, _ = decode(reference(checkpoints), hypotheses)
    computed, _ = decode(in_openvino(int8_files(checkpoints), checkpoints), hypotheses)
    one, two = (np.concatenate([part.ravel() for part in parts]) for parts in (expected, computed))
    assert np.corrcoef(one, two)[0, 1] > INT8_CORRELATION


def test_the_files_have_the_names_inputs_and_weights_that_serving_expects(checkpoints: Path) -> None:
    folder = int8_files(checkpoints)
    family = family_of(checkpoints)
    for graph in (ENCODER, DECODER):
        assert (folder / openvino_int8_file(graph)).with_suffix(".bin").is_file()
    loaded = OpenVinoGraph(folder / openvino_int8_file(DECODER), 1, lambda _: False)
    layers = family.shape.layers
    assert set(loaded.inputs) == {*STATEFUL_DECODER_INPUTS, *tensor_names("cross", layers)}
    nodes = runtime.CORE.read_model(folder / openvino_int8_file(DECODER)).get_ops()
    kinds = [node.get_type_name() for node in nodes]
    assert kinds.count("ScaledDotProductAttention") == 2 * layers
    assert kinds.count("ReadValue") == kinds.count("Assign") == 2 * layers
    large = [node for node in nodes if node.get_type_name() == "Constant" and np.prod(list(node.shape)) >= 4_096]
    eight_bits = [node for node in large if node.get_element_type() == openvino.Type.i8]
    assert len(eight_bits) >= 0.9 * len(large) - 1  # all but the table of positions


def test_sessions_do_not_disturb_each_other(checkpoints: Path) -> None:
    """The keys and values of the tokens so far are inside OpenVINO. A request that a session had has none of them."""
    graphs = in_openvino(int8_files(checkpoints), checkpoints)
    expected, _ = decode(graphs, 1)
    with ThreadPoolExecutor(4) as pool:
        for logits, _ in pool.map(lambda hypotheses: decode(graphs, hypotheses), [1, 3, 1, 1, 3, 1]):
            if len(logits[0]) == 1:
                for one, two in zip(expected, logits, strict=True):
                    np.testing.assert_array_equal(two, one)
    encoded = graphs.encode(np.zeros((80, FRAMES), dtype=np.float32), LAYOUT)
    first, second = (graphs.session(encoded, 1, capacity=16) for _ in range(2))
    for tokens in ([290, 5, 9, 30], [7]):  # in turns
        np.testing.assert_array_equal(first(np.array([tokens]), [0]), second(np.array([tokens]), [0]))


def test_the_memory_of_a_session_is_used_again(checkpoints: Path) -> None:
    decoder = OpenVinoGraph(int8_files(checkpoints) / openvino_int8_file(DECODER), 1, lambda _: False)
    request = decoder.take_request()
    decoder.return_request(request)
    for _ in range(3):
        decoder.bind({}, (), ["logits"])  # dropped at once
    assert decoder.take_request() is request
    assert decoder.take_request() is not request


def test_files_of_optimum_are_not_for_it(tmp_path: Path) -> None:
    for name in ("encoder_model.onnx", "decoder_model.onnx"):
        (tmp_path / name).touch()
    with pytest.raises(ArtifactError, match="--openvino needs files in Dikte's own layout"):
        WhisperExporter().make_openvino(tmp_path, tmp_path, Options())
