"""Export a checkpoint to its ONNX graphs.

Checkpoints that have a matrix form (`matrix_form.py`) are exported in it. All others get the graph of optimum:

| file | matrix form | others |
|---|---|---|
| FP32 | with `lengths`: clips of any length can share a batch | stock graph |
| INT8, dynamic | one clip at a time, in the fastest form for ONNX Runtime | stock graph |
| INT8, static | with `lengths`, and the front end in one piece, which calibration needs | stock graph |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
from onnx import ModelProto, helper
from transformers import PreTrainedModel

from app.families.ctc.graph import BATCHES_KEY, INDEPENDENT
from scripts.exporting.integer_ranges import BLOCK, LayerBits
from scripts.exporting.matrix_form import MatrixForm, has_matrix_form
from scripts.exporting.onnx_files import remove_weight_norm, restore_halves, save, stock_export, trace_with_lengths
from scripts.exporting.onnx_runtime_form import export_for_batches, export_for_onnx_runtime
from scripts.exporting.quantization import Feed, calibrate, names_matching, quantize, split_gemms

FRONT_END = "front_end/*products*"
"""Pattern of the names of the front end's products, which are quantized by row. The WER of the bundled checkpoint on
120 clips of telephone speech is 30.4 % in float32, 30.4 % with a scale per row, and 44.7 % with a scale per piece."""


@dataclass(frozen=True)
class Quantization:
    """Options of INT8 quantization.

    method: `dynamic` takes the range of activations from each run, `static` from calibration clips. keep: patterns of
    names of products that stay in float32. bits: of the weights. Seven bits are exact on every CPU, eight only on CPUs
    with VNNI or AMX. With four bits, which need the method `dynamic`, linear layers compute in float32.
    """

    method: Literal["dynamic", "static"] = "dynamic"
    keep: tuple[str, ...] = ()
    bits: LayerBits = 7

    @property
    def is_static(self) -> bool:
        """Whether it needs calibration clips."""
        return self.method == "static"

    def __str__(self) -> str:
        kept = f", in float: {' '.join(self.keep)}" if self.keep else ""
        if self.bits == 4:
            return f"linear layers: weights of 4 bits per block of {BLOCK}; others: dynamic, 7 bits per channel{kept}"
        return f"{self.method}, MatMul, signed weights of {self.bits} bits per channel{kept}"


DYNAMIC = Quantization()


def export_fp32(model: PreTrainedModel, path: Path) -> None:
    """Write the FP32 graph of a checkpoint. Removes weight norm from the model.

    `input_values` (batch, samples) float32 and, in the matrix form, `lengths` (batch,) int64 -> `logits` (batch,
    frames, vocabulary) float32.
    """
    remove_weight_norm(model)
    if has_matrix_form(model.config):
        save(_independent(export_for_batches(model)), path)
    else:
        save(stock_export(model), path)


def export_int8(
    model: PreTrainedModel, fp32: Path, path: Path, options: Quantization, feeds: Iterable[Feed] = ()
) -> int:
    """Write the INT8 graph of a checkpoint. Returns the number of quantized products.

    fp32: the file of its FP32 graph. feeds: calibration inputs, for the static method. Raises ValueError if a pattern
    of `options.keep` matches no product, or if the static method gets no feeds, or four bits.
    """
    if not has_matrix_form(model.config):
        return quantize_to(onnx.load(fp32), path, options, feeds)
    remove_weight_norm(model)
    if options.is_static:
        return quantize_to(_independent(trace_with_lengths(MatrixForm(model))), path, options, feeds)
    gelu = model.config.feat_extract_activation == "gelu"
    return quantize_to(export_for_onnx_runtime(model), path, options, by_row=FRONT_END if gelu else "")


def quantize_to(
    graph: ModelProto, path: Path, options: Quantization, feeds: Iterable[Feed] = (), by_row: str = ""
) -> int:
    """Quantize a float32 graph in place, and write it. Returns and raises the same as `export_int8`.

    by_row: pattern of the names of products that get a scale per row (see `scripts.exporting.quantization`).
    """
    restore_halves(graph.graph)
    split_gemms(graph)
    keep = names_matching([graph], options.keep)
    ranges = calibrate(graph, feeds) if options.is_static else None
    rows = names_matching([graph], [by_row]) if by_row else ()
    count = quantize(graph, keep, ranges, options.bits, rows)
    if ranges is None:
        del graph.metadata_props[:]  # clips of a batch share the range of their activations: no longer independent
    save(graph, path)
    return count


def _independent(graph: ModelProto) -> ModelProto:
    """Mark a graph as one whose result for a clip does not depend on the other clips of the batch."""
    helper.set_model_props(graph, {BATCHES_KEY: INDEPENDENT})
    return graph
