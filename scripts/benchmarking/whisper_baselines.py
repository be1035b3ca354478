"""The baselines of Whisper models: the same checkpoint in the forms that other projects read.

optimum's two are the recipes of its documentation: `optimum-cli export onnx`, and ORTQuantizer on each of these files.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarking.baselines import Baseline, Source
from scripts.benchmarking.engines import WHISPER

TASK = "automatic-speech-recognition-with-past"
OPTIMUM, OPTIMUM_FOLDER = "optimum_fp32", "optimum"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER, "preprocessor_config.json", "vocabulary.json")
"""Files of a checkpoint that faster-whisper reads beside its model."""


def export_with_optimum(source: Source, target: Path) -> None:
    """Write the folder of `optimum-cli export onnx`."""
    from optimum.exporters.onnx import main_export

    main_export(str(source.checkpoint), output=target, task=TASK, do_validation=False)


def quantize_with_optimum(source: Source, target: Path) -> None:
    """Quantize each file of the export with ORTQuantizer, with the settings of the documentation."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    exported = source.folder / OPTIMUM_FOLDER
    shutil.copytree(exported, target, ignore=shutil.ignore_patterns("*.onnx", "*.onnx_data"))
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    for path in sorted(exported.glob("*.onnx")):
        quantizer = ORTQuantizer.from_pretrained(exported, file_name=path.name)
        quantizer.quantize(save_dir=target, quantization_config=settings, file_suffix="")


def convert_to_ctranslate2(quantization: str) -> Callable[[Source, Path], None]:
    """A function that writes the folder that faster-whisper reads, with weights of this type.

    A tokenizer in the old format (`vocab.json`, `merges.txt`) is converted too; without one, faster-whisper would fetch
    that of another model from the hub.
    """

    def convert(source: Source, target: Path) -> None:
        from ctranslate2.converters import TransformersConverter
        from transformers import WhisperTokenizerFast

        files = [name for name in TOKENIZER_FILES if (source.checkpoint / name).is_file()]
        TransformersConverter(str(source.checkpoint), copy_files=files).convert(str(target), quantization=quantization)
        if TOKENIZER not in files:
            tokenizer = WhisperTokenizerFast.from_pretrained(source.checkpoint)
            tokenizer.backend_tokenizer.save(str(target / TOKENIZER))

    return convert


def export_for_openvino_genai(source: Source, target: Path) -> None:
    """Write the folder of `optimum-cli export openvino` with INT8 weights, as OpenVINO GenAI's documentation does.

    Raises RuntimeError with the end of its output if it fails.
    """
    command = [sys.executable, "-m", "optimum.commands.optimum_cli", "export", "openvino"]
    command += ["--model", str(source.checkpoint), "--task", TASK, "--weight-format", "int8", str(target)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout.strip().splitlines()[-1])


WHISPER_BASELINES = (
    Baseline("transformers", "transformers pipeline FP32", WHISPER, "transformers"),
    Baseline(OPTIMUM, "optimum pipeline FP32", WHISPER, "optimum", OPTIMUM_FOLDER, export_with_optimum),
    Baseline(
        "optimum_int8", "optimum pipeline INT8", WHISPER, "optimum", "optimum_int8", quantize_with_optimum, OPTIMUM
    ),
    Baseline(
        "faster_whisper_float32",
        "faster-whisper float32",
        WHISPER,
        "faster_whisper_float32",
        "ctranslate2_float32",
        convert_to_ctranslate2("float32"),
        needs=("faster_whisper",),
    ),
    Baseline(
        "faster_whisper_int8",
        "faster-whisper int8",
        WHISPER,
        "faster_whisper_int8",
        "ctranslate2_int8",
        convert_to_ctranslate2("int8"),
        needs=("faster_whisper",),
    ),
    Baseline(
        "openvino_genai",
        "OpenVINO GenAI, INT8 weights",
        WHISPER,
        "openvino_genai",
        "openvino_genai",
        export_for_openvino_genai,
        needs=("openvino_genai", "optimum.intel"),
    ),
)
"""All baselines, in the order in which they are made."""
