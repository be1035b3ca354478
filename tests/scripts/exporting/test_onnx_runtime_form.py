from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto
from transformers import PreTrainedModel

from app.families.ctc.graph import LENGTHS_INPUT
from app.families.ctc.settings import read_framing
from scripts.exporting.onnx_files import graphs_of
from scripts.exporting.onnx_runtime_form import (
    PIECE_FRAMES,
    export_for_batches,
    export_for_onnx_runtime,
    fused_attention,
)
from tests.checkpoints import TINY, exporting, tiny_model
from tests.reference import session_on_one_thread

HOP, RECEPTIVE_FIELD = 320, 400
"""Hop and receptive field of the tiny models, in samples."""


@cache
def exported(family: str, norm: str) -> tuple[PreTrainedModel, ModelProto]:
    model = tiny_model(family, norm)
    with exporting():
        return model, export_for_onnx_runtime(model)


@pytest.mark.parametrize(("family", "norm"), TINY)
def test_it_computes_what_transformers_computes(family: str, norm: str) -> None:
    """Lengths around those with an additional piece, and between them."""
    model, graph = exported(family, norm)
    session = session_on_one_thread(graph)
    around = (
        1,
        2,
        PIECE_FRAMES - 1,
        PIECE_FRAMES,
        *(pieces * PIECE_FRAMES + more for pieces in (2, 3) for more in (-1, 0, 1)),
    )
    least = read_framing(model.config.to_dict()).min_frames
    counts = [frames for frames in (*around, 3 * PIECE_FRAMES + 7) if frames >= least]
    lengths = [(frames, more) for frames in counts for more in (0, 1, HOP - 1)]
    for frames, more in (*lengths, (12 * PIECE_FRAMES - 1, HOP - 1)):
        samples = torch.randn(1, RECEPTIVE_FIELD + (frames - 1) * HOP + more)
        with torch.inference_mode():
            expected = model(samples).logits.numpy()
        (actual,) = session.run(["logits"], {"input_values": samples.numpy()})
        assert actual.shape == expected.shape == (1, frames, model.config.vocab_size)
        np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0, err_msg=f"{frames} frames and {more}")


@pytest.mark.parametrize(("family", "norm"), TINY)
def test_clips_of_a_batch_are_as_each_alone(family: str, norm: str) -> None:
    """All clips have as many pieces as the longest one, whatever the samples past their ends are."""
    model = tiny_model(family, norm)
    with exporting():
        graph = export_for_batches(model)
    onnx.checker.check_model(graph, full_check=True)
    session = session_on_one_thread(graph)
    least = read_framing(model.config.to_dict()).min_frames
    for all_frames in (
        (least,),
        (PIECE_FRAMES + 1, PIECE_FRAMES),
        (7, 3 * PIECE_FRAMES + 7, least, 2 * PIECE_FRAMES),
    ):
        lengths = np.array([RECEPTIVE_FIELD + (frames - 1) * HOP for frames in all_frames])
        batch = torch.randn(len(lengths), int(lengths.max()))
        (actual,) = session.run(["logits"], {"input_values": batch.numpy(), LENGTHS_INPUT: lengths})
        assert actual.shape == (len(lengths), max(all_frames), model.config.vocab_size)
        for logits, samples, length, frames in zip(actual, batch, lengths, all_frames, strict=True):
            with torch.inference_mode():
                expected = model(samples[None, :length]).logits.numpy()[0]
            np.testing.assert_allclose(logits[:frames], expected, atol=1e-4, rtol=0, err_msg=f"{all_frames}")


@pytest.mark.parametrize(("family", "norm"), TINY)
def test_the_graph_is_one_loop_and_fused_attention(family: str, norm: str) -> None:
    model, graph = exported(family, norm)
    onnx.checker.check_model(graph, full_check=True)
    operators = [node.op_type for part in graphs_of(graph.graph) for node in part.node]
    assert operators.count("Loop") == 1
    assert operators.count("MultiHeadAttention") == model.config.num_hidden_layers
    assert not {"Conv", "Softmax", "InstanceNormalization"} & set(operators)
    ((inputs,), (outputs,)) = graph.graph.input, graph.graph.output
    assert (inputs.name, outputs.name) == ("input_values", "logits")


@pytest.mark.parametrize("export", [export_for_batches, export_for_onnx_runtime])
def test_it_may_be_larger_than_what_onnx_can_check(
    export: Callable[[PreTrainedModel], ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("wav2vec2", "layer")
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", 1_000)
    with exporting():
        graph = export(model)
    with pytest.raises(ValueError, match="too large"):
        onnx.checker.check_model(graph)


def test_fused_attention_is_for_clips_without_padding() -> None:
    frames = torch.randn(1, 3, 4)
    with pytest.raises(ValueError, match="takes no mask"):
        fused_attention(frames, frames, frames, torch.zeros(1, 1, 1, 3), 2)
