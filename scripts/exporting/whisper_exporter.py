"""Makes the artifacts of Whisper models in Dikte's layout or optimum's: encoder and decoder, in float32 and in INT8."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import WhisperForConditionalGeneration

from app.artifacts import ArtifactError, open_artifact
from app.families.whisper import DECODER, ENCODER, SETTINGS_FILES, WhisperFamily, find_graphs
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.optimum_graphs import ENCODER_MODEL
from app.models import Model
from app.recognizer import UNCHECKED, AnyRecognizer, Window
from app.runtimes.registry import (
    BACKENDS,
    OPENVINO,
    OPTIMUM_INT8,
    REFERENCE,
    find_onnx_int8_file,
    onnx_fp32_file,
    onnx_int8_file,
    openvino_int8_file,
)
from scripts.common.model_files import model_files
from scripts.exporting.exporter import FamilyProofs, Layout, Options
from scripts.exporting.onnx_files import count_operators, save, store_compactly, store_rounded
from scripts.exporting.optimum_layout import (
    OPTIMUM_GRAPHS,
    export_with_optimum,
    nodes_matching,
    quantize_with_optimum,
)
from scripts.exporting.proofs import EXACT, FP32_BACKEND, OTHERS, REFERENCE_LIMITS, Limit
from scripts.exporting.quantization import names_matching
from scripts.exporting.whisper_graphs import quantize_decoder, quantize_encoder, trace_whisper
from scripts.exporting.whisper_proofs import noise_of, prove_whisper
from scripts.speech.data import SpeechRows
from scripts.speech.scoring import ClipErrors

GRAPHS: Mapping[Layout, tuple[str, ...]] = {"dikte": (ENCODER, DECODER), "optimum": OPTIMUM_GRAPHS}
"""Layout -> the graphs that are made."""
QUANTIZED = (Limit("argmax_agreement", "at least", 0.85), Limit("wer_increase", "at most", 0.005))
"""Equal tokens and words of INT8. One other token early in a clip can change many that follow, so the words decide."""
CHECKED_S = (0.1, 1.0, 7.3)
"""Durations of audio that a graph must compute, in seconds, besides the longest window."""
COUNTED = ("MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits", "GatherBlockQuantized", "Conv", "Gemm", "MatMul")


class WhisperExporter:
    """The `Exporter` of Whisper models."""

    settings_files = SETTINGS_FILES
    limits: Mapping[str, tuple[Limit, ...]] = {REFERENCE: REFERENCE_LIMITS, FP32_BACKEND: EXACT, OTHERS: QUANTIZED}

    def check_adoptable(self, folder: Path) -> None:
        """Raises ArtifactError if the folder has neither all float32 files nor all INT8 files of a layout."""
        graphs = find_graphs(folder)
        fp32, int8 = paths_of(folder, graphs)
        if not (all(path.is_file() for path in fp32) or all(path.is_file() for path in int8)):
            raise ArtifactError(
                f"there is nothing in {folder} to adopt: neither {' and '.join(map(onnx_fp32_file, graphs))} nor the "
                f"files of optimum, {onnx_fp32_file(ENCODER_MODEL)} and a decoder"
            )

    def load(self, checkpoint: Path) -> WhisperForConditionalGeneration:
        """The checkpoint's model."""
        return load_checkpoint(checkpoint)

    def make(
        self, model: WhisperForConditionalGeneration, folder: Path, options: Options, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Make the ONNX files."""
        if options.quantization.is_static:
            raise ArtifactError("Whisper is quantized with --quantization dynamic only")
        if options.quantization.bits == 4:
            raise ArtifactError("--weight_bits 4 is for CTC models")
        graphs = find_graphs(folder) if options.adopt else GRAPHS[options.layout]
        own = ENCODER in graphs
        if not options.adopt:
            remove_earlier_files(folder, own)
        fp32, int8 = paths_of(folder, graphs)
        missing = [graph for graph, path in zip(graphs, fp32, strict=True) if not (options.adopt and path.is_file())]
        if missing and own:
            self._export(model, folder, missing)
        elif missing:
            export_with_optimum(model, folder, missing)
        for graph in missing:
            if options.fp16:
                store_rounded(folder / onnx_fp32_file(graph))
            elif own:  # not the files of optimum: its quantizer finds no weights that are behind a Cast
                store_compactly(folder / onnx_fp32_file(graph))
        method = before.get("quantization", {}).get("method", "unknown: adopted as it was")
        if not (options.adopt and all(path.is_file() for path in int8)):
            method = self._quantize(model, folder, options) if own else self._quantize_with_optimum(fp32, int8, options)
        for path in (*fp32, *int8):
            print(f"{path.name}: {sum(file.stat().st_size for file in model_files(path)) / 1e6:.1f} MB")
        operators: dict[str, int] = {}
        for path in int8:
            for name, count in count_operators(path).items():
                if name in COUNTED:
                    operators[name] = operators.get(name, 0) + count
        return {"method": method, "operators": operators}

    def _export(self, model: WhisperForConditionalGeneration, folder: Path, graphs: Sequence[str]) -> None:
        """Make the float32 files of some graphs in Dikte's layout."""
        traced = trace_whisper(model, self._query_layers(folder))
        for graph in graphs:
            save(traced[graph], folder / onnx_fp32_file(graph))

    def _query_layers(self, folder: Path) -> tuple[int, ...]:
        return WhisperFamily(open_artifact(folder)).shape.query_layers

    def _quantize_with_optimum(self, fp32: Sequence[Path], int8: Sequence[Path], options: Options) -> str:
        """Make the INT8 files in optimum's layout; with `options.adopt`, only the missing ones."""
        quantization = options.quantization
        assert quantization.bits != 4, "refused by make"
        try:
            keep = nodes_matching(fp32, quantization.keep)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        for source, target in zip(fp32, int8, strict=True):
            if not (options.adopt and target.is_file()):
                quantize_with_optimum(source, target, quantization.bits, keep)
        return f"ORTQuantizer, avx512_vnni, dynamic, signed weights of {quantization.bits} bits per tensor"

    def _quantize(self, model: WhisperForConditionalGeneration, folder: Path, options: Options) -> str:
        """Make the INT8 files of a model in Dikte's layout. Returns what was done."""
        traced = trace_whisper(model, self._query_layers(folder), int8_window=True)
        encoder, decoder = traced[ENCODER], traced[DECODER]
        try:
            keep = names_matching((encoder, decoder), options.quantization.keep)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        bits = options.quantization.bits
        products = quantize_encoder(encoder, keep, bits), quantize_decoder(decoder, keep)
        for name, graph in traced.items():
            path = folder / onnx_int8_file(name)
            save(graph, path)
            store_compactly(path)
        return (
            f"encoder: dynamic, signed weights of {bits} bits per channel: {products[0]} products, activations by "
            "row in the contraction of feed-forward parts; "
            f"decoder: 8 bits per block of weights and of activations: {products[1]} products; "
            "keys and values of cross-attention: 8 bits per channel"
        )

    def make_openvino(self, checkpoint: Path, folder: Path, options: Options) -> None:
        """Make the INT8 files of OpenVINO. Raises ArtifactError if the folder has the layout of optimum."""
        if find_graphs(folder) != GRAPHS["dikte"]:
            raise ArtifactError("--openvino needs files in Dikte's own layout (--layout dikte, without --adopt)")
        try:
            from scripts.exporting.whisper_openvino import make_whisper_openvino_int8
        except ImportError as error:
            needed = BACKENDS[OPENVINO].requirements
            raise ArtifactError(f"--openvino needs {error.name}: pip install -r {needed}") from error
        counts = make_whisper_openvino_int8(checkpoint, folder, WhisperFamily(open_artifact(folder)).shape)
        for graph, count in counts.items():
            path = folder / openvino_int8_file(graph)
            size = sum(file.stat().st_size for file in model_files(path))
            print(f"{path.name}: {size / 1e6:.1f} MB, weights in INT8: {count}")

    def check(self, recognizer: AnyRecognizer) -> None:
        """Compute noise of several durations. Raises ArtifactError if that fails."""
        for duration_s in (*CHECKED_S, recognizer.window_s):
            window = Window(noise_of(duration_s, recognizer.rate_hz))
            try:
                (output,) = recognizer.compute([window], UNCHECKED)
            except Exception as error:  # each runtime raises its own kinds of errors
                raise ArtifactError(f"the model cannot compute {duration_s:g} s of audio: {error}") from error
            recognizer.check(window, output)

    def prove(
        self,
        checkpoint: Path,
        artifact: Model,
        recognizers: Mapping[str, AnyRecognizer],
        sets: Mapping[str, SpeechRows],
        options: Options,
        workers: int,
        errors: Mapping[str, Sequence[ClipErrors]],
    ) -> FamilyProofs:
        """Prove that tokens are those of transformers, and words the same with condensed silence."""
        return prove_whisper(checkpoint, artifact.family, recognizers, sets, options.language, workers, errors)


def paths_of(folder: Path, graphs: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The float32 files and the INT8 files of graphs in a folder, whether they exist or not."""
    fp32 = [folder / onnx_fp32_file(graph) for graph in graphs]
    int8 = []
    for graph in graphs:
        path = folder / find_onnx_int8_file(folder, graph)
        if graph in OPTIMUM_GRAPHS and not path.is_file():
            path = folder / f"{graph}{OPTIMUM_INT8}"
        int8.append(path)
    return fp32, int8


def remove_earlier_files(folder: Path, own: bool) -> None:
    """Remove files of an earlier export that would be used in place of the new ones.

    own: whether the new files are in Dikte's layout, which is preferred to optimum's.
    """
    for graph in (ENCODER, DECODER):
        openvino = folder / openvino_int8_file(graph)
        for path in (openvino, openvino.with_suffix(".bin")):
            path.unlink(missing_ok=True)
    if not own:
        names = [onnx_fp32_file(graph) for graph in (ENCODER, DECODER)]
        names += [onnx_int8_file(graph) for graph in (ENCODER, DECODER, *OPTIMUM_GRAPHS)]
        for path in (folder / name for name in names):
            if path.is_file():
                for file in model_files(path):
                    file.unlink()
