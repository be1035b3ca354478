"""Makes the artifacts of Whisper models: encoder and decoder, in float32 and in INT8."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from transformers import WhisperForConditionalGeneration

from app.artifacts import ArtifactError, open_artifact
from app.families.whisper import DECODER, ENCODER, SETTINGS_FILES, WhisperFamily
from app.families.whisper.checkpoint import load_checkpoint
from app.models import Model
from app.recognizer import UNCHECKED, AnyRecognizer, Window
from app.runtimes.registry import REFERENCE, onnx_fp32_file, onnx_int8_file
from scripts.common.model_files import model_files
from scripts.exporting.exporter import FamilyProofs, Options
from scripts.exporting.onnx_files import count_operators, restore_halves, save, store_compactly, store_rounded
from scripts.exporting.proofs import EXACT, FP32_BACKEND, OTHERS, REFERENCE_LIMITS, Limit
from scripts.exporting.quantization import names_matching, quantize
from scripts.exporting.whisper_graphs import quantize_decoder, trace_whisper
from scripts.exporting.whisper_proofs import noise_of, prove_whisper
from scripts.speech.data import SpeechRows

GRAPHS = (ENCODER, DECODER)
QUANTIZED = (Limit("argmax_agreement", "at least", 0.85), Limit("wer_increase", "at most", 0.005))
"""Equal tokens and words of INT8. One other token early in a clip can change many that follow, so the words decide."""
CHECKED_S = (0.1, 1.0, 7.3)
"""Durations of audio that a graph must compute, in seconds, besides the longest window."""
COUNTED = ("MatMulInteger", "MatMulNBits", "GatherBlockQuantized", "Conv", "Gemm", "MatMul")


class WhisperExporter:
    """The `Exporter` of Whisper models."""

    settings_files = SETTINGS_FILES
    limits: Mapping[str, tuple[Limit, ...]] = {REFERENCE: REFERENCE_LIMITS, FP32_BACKEND: EXACT, OTHERS: QUANTIZED}

    def check_adoptable(self, folder: Path) -> None:
        """Raises ArtifactError if a float32 graph is missing."""
        for graph in GRAPHS:
            if not (folder / onnx_fp32_file(graph)).is_file():
                raise ArtifactError(f"there is no {onnx_fp32_file(graph)} in {folder} to adopt")

    def load(self, checkpoint: Path) -> WhisperForConditionalGeneration:
        """The checkpoint's model."""
        return load_checkpoint(checkpoint)

    def make(
        self, model: WhisperForConditionalGeneration, folder: Path, options: Options, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Make the ONNX files."""
        if options.quantization.is_static:
            raise ArtifactError("Whisper is quantized with --quantization dynamic only")
        fp32, int8 = ([folder / name(graph) for graph in GRAPHS] for name in (onnx_fp32_file, onnx_int8_file))
        method = before.get("quantization", {}).get("method", "unknown: adopted as it was")
        if not (options.adopt and all(path.is_file() for path in fp32)):
            layers = WhisperFamily(open_artifact(folder)).shape.query_layers
            for path, graph in zip(fp32, trace_whisper(model, layers).values(), strict=True):
                save(graph, path)
                (store_rounded if options.fp16 else store_compactly)(path)
        if not (options.adopt and all(path.is_file() for path in int8)):
            method = self._quantize(fp32, int8, options)
        for path in (*fp32, *int8):
            print(f"{path.name}: {sum(file.stat().st_size for file in model_files(path)) / 1e6:.1f} MB")
        operators: dict[str, int] = {}
        for path in int8:
            for name, count in count_operators(path).items():
                if name in COUNTED:
                    operators[name] = operators.get(name, 0) + count
        return {"method": method, "operators": operators}

    def _quantize(self, fp32: list[Path], int8: list[Path], options: Options) -> str:
        """Make the INT8 files from the float32 files. Returns what was done."""
        encoder, decoder = (onnx.load(path) for path in fp32)
        for graph in (encoder, decoder):
            restore_halves(graph.graph)
        try:
            keep = names_matching((encoder, decoder), options.quantization.keep)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        bits = options.quantization.bits
        products = quantize(encoder, keep, bits=bits), quantize_decoder(decoder, keep)
        for path, graph in zip(int8, (encoder, decoder), strict=True):
            save(graph, path)
            store_compactly(path)
        return (
            f"encoder: dynamic, signed weights of {bits} bits per channel: {products[0]} products; "
            f"decoder: 8 bits per block of weights and of activations: {products[1]} products"
        )

    def make_openvino(self, checkpoint: Path, folder: Path, options: Options) -> None:
        """Raises ArtifactError: there are no INT8 files of OpenVINO for Whisper yet."""
        raise ArtifactError("--openvino is for CTC models so far")

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
    ) -> FamilyProofs:
        """Prove that tokens are those of transformers, and words the same with condensed silence."""
        return prove_whisper(checkpoint, artifact.family, recognizers, sets, options.language, workers)
