"""Makes the artifacts of CTC models: `model.onnx`, `model_int8.onnx`, and INT8 for OpenVINO."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from app.artifacts import ArtifactError, open_artifact
from app.families.ctc import GRAPH, CtcFamily
from app.families.ctc.checkpoint import load_checkpoint
from app.families.ctc.language_model import PARTS
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.settings import SETTINGS_FILES, CtcSettings, read_settings
from app.models import Model
from app.recognizer import AnyRecognizer
from app.runtimes.registry import BACKENDS, OPENVINO, onnx_fp32_file, onnx_int8_file, openvino_int8_file
from scripts.common.model_files import model_files
from scripts.exporting.calibration import calibration_feeds
from scripts.exporting.exporter import FamilyProofs, Options
from scripts.exporting.graph_export import export_fp32, export_int8
from scripts.exporting.language_model_proofs import LANGUAGE_MODEL_ENTRY, prove_language_model
from scripts.exporting.length_check import check_lengths
from scripts.exporting.onnx_files import count_operators, store_compactly, store_rounded
from scripts.exporting.proofs import LIMITS
from scripts.speech.data import SpeechRows
from scripts.speech.scoring import ClipErrors

FP32_FILE, INT8_FILE, OPENVINO_FILE = onnx_fp32_file(GRAPH), onnx_int8_file(GRAPH), openvino_int8_file(GRAPH)
CALIBRATION_CLIPS = 64
"""For static INT8. More clips hardly widen a range."""


class CtcExporter:
    """The `Exporter` of CTC models."""

    settings_files = (*SETTINGS_FILES, *PARTS)
    limits = LIMITS

    def check_adoptable(self, folder: Path) -> None:
        """Raises ArtifactError if there is no `model.onnx`."""
        if not (folder / FP32_FILE).is_file():
            raise ArtifactError(f"there is no {FP32_FILE} in {folder} to adopt")

    def load(self, checkpoint: Path) -> PreTrainedModel:
        """The checkpoint's model."""
        return load_checkpoint(checkpoint).model

    def make(self, model: PreTrainedModel, folder: Path, options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
        """Make the ONNX files."""
        if options.layout != "dikte":
            raise ArtifactError(f"--layout {options.layout} is for Whisper")
        if options.quantization.bits == 4 and (options.openvino or options.quantization.is_static):
            raise ArtifactError("--weight_bits 4 is for ONNX Runtime with --quantization dynamic, without --openvino")
        fp32, int8 = folder / FP32_FILE, folder / INT8_FILE
        adopted = {path for path in (fp32, int8) if options.adopt and path.is_file()}
        method = before.get("quantization", {}).get("method", "unknown: adopted as it was")
        if fp32 not in adopted:
            export_fp32(model, fp32)
        if int8 not in adopted:
            static = options.quantization.is_static
            feeds = calibration_feeds(options.calibration, settings_in(folder), CALIBRATION_CLIPS) if static else ()
            try:
                count = export_int8(model, fp32, int8, options.quantization, feeds)
            except ValueError as error:
                raise ArtifactError(str(error)) from error
            method = f"{options.quantization}: {count} products"
            store_compactly(int8)
        if fp32 not in adopted:
            (store_rounded if options.fp16 else store_compactly)(fp32)
        if not options.adopt:
            for path in (folder / OPENVINO_FILE, (folder / OPENVINO_FILE).with_suffix(".bin")):
                path.unlink(missing_ok=True)  # from an earlier export
        for path in (fp32, int8):
            print(f"{path.name}: {sum(file.stat().st_size for file in model_files(path)) / 1e6:.1f} MB")
        operators = {
            name: count
            for name, count in count_operators(int8).items()
            if "Integer" in name or name in ("MatMulNBits", "Conv", "Gemm", "MatMul")
        }
        return {"method": method, "operators": operators}

    def make_openvino(self, checkpoint: Path, folder: Path, options: Options) -> None:
        """Make the INT8 file of OpenVINO."""
        try:
            from scripts.exporting.openvino_files import make_openvino_int8
        except ImportError as error:
            needed = BACKENDS[OPENVINO].requirements
            raise ArtifactError(f"--openvino needs {error.name}: pip install -r {needed}") from error
        bits = options.quantization.bits
        assert bits != 4, "refused by make"
        counts = make_openvino_int8(checkpoint, folder, settings_in(folder), options.calibration, bits)
        size = (folder / OPENVINO_FILE).with_suffix(".bin").stat().st_size
        print(f"{OPENVINO_FILE}: {size / 1e6:.1f} MB, in INT8: {counts}")

    def check(self, recognizer: AnyRecognizer) -> None:
        """Compute noise of several lengths. Raises the errors of `check_lengths`."""
        assert isinstance(recognizer, CtcRecognizer)
        check_lengths(recognizer)

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
        """What the backends write with the language model, if there is one."""
        assert isinstance(artifact.family, CtcFamily)
        if not artifact.family.language_model.exists:
            return FamilyProofs((), {}, recognizers)
        measured = prove_language_model(artifact, recognizers, sets, options.language, workers)
        return FamilyProofs(measured.proofs, {LANGUAGE_MODEL_ENTRY: measured.entry}, recognizers)


def settings_in(folder: Path) -> CtcSettings:
    """The settings of the model in a folder."""
    return read_settings(open_artifact(folder))
