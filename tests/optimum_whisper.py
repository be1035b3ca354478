"""Tiny Whisper checkpoints as optimum exports and quantizes them."""

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from app.families.whisper.settings import SETTINGS_FILES
from tests.checkpoints import exporting
from tests.once import made_once
from tests.whisper_checkpoints import make_whisper

WITH_PAST, WITHOUT_PAST = "automatic-speech-recognition-with-past", "automatic-speech-recognition"


def exported_by_optimum(folder: Path, task: str = WITH_PAST) -> Path:
    """What `optimum-cli export onnx --task` makes of the tiny checkpoint under `folder`. Not to be changed."""

    def make(path: Path) -> None:
        with exporting(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the graph's operators
            main_export(str(make_whisper(folder)), path, task=task, do_validation=False)

    return made_once(folder / "whisper by optimum" / task, make)


def quantized_by_optimum(folder: Path) -> Path:
    """What the recipe in optimum's documentation makes of the files with past, in a new folder. Not to be changed."""

    def make(path: Path) -> None:
        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
        source = exported_by_optimum(folder)
        with exporting():
            for file in sorted(source.glob("*.onnx")):
                quantizer = ORTQuantizer.from_pretrained(source, file_name=file.name)
                quantizer.quantize(save_dir=path, quantization_config=settings)

    return made_once(folder / "whisper by optimum" / "quantized", make)


def optimum_folder(folder: Path, target: Path, graphs: Sequence[str], task: str = WITH_PAST) -> Path:
    """A new folder with the checkpoint's settings and some of optimum's files. graphs: names without `.onnx`."""
    target.mkdir()
    for name in SETTINGS_FILES:
        if (make_whisper(folder) / name).is_file():
            shutil.copy(make_whisper(folder) / name, target)
    for graph in graphs:
        source = quantized_by_optimum(folder) if graph.endswith("_quantized") else exported_by_optimum(folder, task)
        shutil.copy(source / f"{graph}.onnx", target)
    return target
