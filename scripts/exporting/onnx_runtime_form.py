"""The matrix form for ONNX Runtime: the graph of `model.onnx`, and the graph that is quantized to INT8.

Both compute the same as `scripts/exporting/matrix_form.py`.

- **The front end runs piece by piece**, in a Loop. Its first layers have 160,000 values per 0.1 s, so the activations
  of a whole window do not fit any cache. Those of a piece do, and memory does not grow with the window.
- **Attention is one operator** (`com.microsoft.MultiHeadAttention`), which never stores the whole matrix of scores.
  Only the graph for INT8 has it. That graph takes one clip at a time, because several clips would share the scale of
  their activations, and no other runtime needs to read it.
"""

from typing import Any

import torch
from onnx import ModelProto, compose, helper, parser
from torch import Tensor, nn
from transformers import PreTrainedModel

from app.families.ctc.graph import LENGTHS_INPUT
from scripts.exporting.matrix_form import Encoder, FirstProduct, FrontEnd, MatrixForm, attend
from scripts.exporting.onnx_files import EXAMPLE_LENGTHS, trace

PIECE_FRAMES = 50
"""Approximate number of frames of a piece: 1 s of audio. All pieces of a clip have the same length."""
EXAMPLE_SAMPLES = 16_000
"""Length of the clip that the exporter traces, in samples. The graph takes any length."""


class FusedAttention(torch.autograd.Function):
    """`attend`, exported as an operator of ONNX Runtime."""

    @staticmethod
    def forward(_: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """softmax(query key^T) value, for each head. Shapes as in `attend`."""
        return attend(query, key, value, None, heads)

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int) -> Any:
        """The ONNX node. The queries are already scaled."""
        output = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads, scale_f=1.0)
        return output.setType(query.type())


def fused_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int) -> Tensor:
    """`attend` for clips without padding. Raises ValueError if there is a mask."""
    if mask is not None:
        raise ValueError("the fused attention takes no mask")
    fused: Tensor = FusedAttention.apply(query, key, value, heads)  # type: ignore[no-untyped-call]
    return fused


class _First(nn.Module):
    """The first part, and the number of frames of each clip for the last part."""

    def __init__(self, form: MatrixForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        patches, weight = self.form.first(samples, lengths)
        return patches, weight, self.form.frame_counts(lengths)


class _FirstOfOne(nn.Module):
    """The first part, for a clip that fills its input."""

    def __init__(self, first: FirstProduct) -> None:
        super().__init__()
        self.first = first

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        patches, weight = self.first(samples, torch._shape_as_tensor(samples)[1:])
        return patches, weight


class _EncoderOfOne(nn.Module):
    """The last part, for a clip that fills its input."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.encoder(frames, None)
        return logits


def export_for_batches(model: PreTrainedModel) -> ModelProto:
    """Export a CTC model that has a matrix form, for batches of clips of any length.

    `input_values` (batch, samples) float32, `lengths` (batch,) int64 -> `logits` (batch, frames, vocabulary) float32.
    Weight norm must be removed first. Raises ValueError if the model has no matrix form.
    """
    form = MatrixForm(model).eval()
    first = _First(form)
    lengths = torch.tensor(EXAMPLE_LENGTHS)
    samples = torch.randn(len(lengths), int(lengths.max()))
    with torch.no_grad():
        patches, weight, counts = first(samples, lengths)
        frames = form.front_end(patches, weight)
    clips = {0: "batch"}
    time = {**clips, 1: "frames"}
    return joined(
        trace(
            first,
            (samples, lengths),
            {"input_values": {**clips, 1: "samples"}, LENGTHS_INPUT: clips},
            {"patches": {**clips, 1: "rows"}, "weight": clips, "counts": clips},
            "first/",
        ),
        _front_end(form.front_end, patches, weight, channels=frames.shape[2], clips=clips),
        trace(form.encoder, (frames, counts), {"frames": time, "counts": clips}, {"logits": time}, "encoder/"),
    )


def export_for_onnx_runtime(model: PreTrainedModel) -> ModelProto:
    """Export a CTC model that has a matrix form, for one clip at a time.

    `input_values` (1, samples) float32 -> `logits` (1, frames, vocabulary) float32. Weight norm must be removed first.
    Raises ValueError if the model has no matrix form.
    """
    form = MatrixForm(model, fused_attention).eval()
    first, encoder = _FirstOfOne(form.first), _EncoderOfOne(form.encoder)
    with torch.no_grad():
        samples = torch.randn(1, EXAMPLE_SAMPLES)
        patches, weight = first(samples)
        frames = form.front_end(patches, weight)
    time = {1: "frames"}
    return joined(
        trace(first, (samples,), {"input_values": {1: "samples"}}, {"patches": {1: "rows"}, "weight": {}}, "first/"),
        _front_end(form.front_end, patches, weight, channels=frames.shape[2], clips={}),
        trace(encoder, (frames,), {"frames": time}, {"logits": time}, "encoder/"),
    )


def _front_end(
    front_end: FrontEnd, patches: Tensor, weight: Tensor, channels: int, clips: dict[int, str]
) -> ModelProto:
    """The middle part, in pieces. clips: index and name of the batch dimension; empty if there is only one clip."""
    piece = trace(
        front_end,
        (patches, weight),
        {"piece": {**clips, 1: "rows"}, "weight": clips},
        {"some": {**clips, 1: "frames"}},
        "front_end/",
    )
    return in_pieces(piece, front_end.hop, front_end.receptive_field, channels, batch=clips.get(0, "1"))


def in_pieces(front_end: ModelProto, hop: int, receptive_field: int, channels: int, batch: str) -> ModelProto:
    """A Loop that runs the front end over pieces of the patches and concatenates their frames.

    hop, receptive_field: of a frame, in patches. channels: of a frame. batch: number of clips, or the name of that
    dimension. All pieces have the same size, because a Loop stacks its outputs. Their number is that of whole
    `PIECE_FRAMES` in the clip, at least one. The last piece is padded with zeros, by less than one frame per piece, and
    the frames of the padding are cut off.
    """
    graph = parser.parse_graph(
        f"""
        front_end (float[{batch}, rows, taps] patches, float[{batch}, taps, width] weight)
            => (float[{batch}, time, channels] frames)
        <int64[1] hop = {{{hop}}}, int64[1] beyond_hop = {{{receptive_field - hop}}},
         int64[1] most = {{{PIECE_FRAMES}}}, int64[3] shape = {{0, -1, {channels}}},
         int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] time_axis = {{1}}, bool yes = {{1}}>
        {{
            rows = Shape <start = 1, end = 2> (patches)
            own = Sub (rows, beyond_hop)
            time = Div (own, hop)
            whole = Div (time, most)
            count = Max (whole, one)
            filled = Add (time, count)
            rounded = Sub (filled, one)
            size = Div (rounded, count)
            step = Mul (size, hop)
            steps = Mul (step, count)
            needed = Add (steps, beyond_hop)
            more = Sub (needed, rows)
            missing = Max (more, zero)
            fill = Concat <axis = 0> (zero, zero, zero, zero, missing, zero)
            all_patches = Pad (patches, fill)
            reach = Add (step, beyond_hop)
            trips = Squeeze (count)
            pieces = Loop <body = one_piece (int64 index, bool go_on)
                => (bool again, float[{batch}, size, channels] some)
            {{
                start = Mul (index, step)
                end = Add (start, reach)
                piece = Slice (all_patches, start, end, time_axis)
                again = Identity (go_on)
            }}> (trips, yes)
            by_clip = Transpose <perm = [1, 0, 2, 3]> (pieces)
            laid_out = Reshape (by_clip, shape)
            frames = Slice (laid_out, zero, time, time_axis)
        }}
        """
    )
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    body = loop.attribute[0].g
    body.node.extend(front_end.graph.node)
    body.initializer.extend(front_end.graph.initializer)
    return helper.make_model(graph, opset_imports=front_end.opset_import, ir_version=front_end.ir_version)


def joined(*parts: ModelProto) -> ModelProto:
    """Join models into one. Each reads the outputs of those before it by name.

    onnx's `merge_models` is not used, because it checks its result and cannot check a model of more than 2 GB.
    """
    graph = parts[0].graph
    for part in parts[1:]:
        inputs = {value.name for value in part.graph.input}
        names = [value.name for value in graph.output if value.name in inputs]
        graph = compose.merge_graphs(graph, part.graph, io_map=list(zip(names, names, strict=True)))
    opsets = {opset.domain: opset for part in parts for opset in part.opset_import}
    return helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=parts[0].ir_version)
