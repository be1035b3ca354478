"""The files of a Whisper model as optimum makes them.

In float32, the files are those of `optimum-cli export onnx --task automatic-speech-recognition-with-past`. In INT8,
each of them is quantized by optimum's ORTQuantizer, with the settings that its documentation uses:
`AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)`. With the settings files of the checkpoint
beside them, `ORTModelForSpeechSeq2Seq.from_pretrained` and a transformers pipeline load the folder.
"""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import onnx
from optimum.exporters.onnx import onnx_export_from_model
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from transformers import WhisperForConditionalGeneration

from app.families.whisper.optimum_graphs import DECODER_MODEL, DECODER_WITH_PAST, ENCODER_MODEL, MERGED_DECODER
from app.runtimes.registry import onnx_fp32_file
from scripts.common.model_files import model_files
from scripts.exporting.integer_ranges import WeightBits
from scripts.exporting.onnx_files import graphs_of, restore_halves, save, share_mode

OPTIMUM_GRAPHS = (ENCODER_MODEL, DECODER_MODEL, DECODER_WITH_PAST, MERGED_DECODER)
"""The graphs that optimum exports with past."""
TASK = "automatic-speech-recognition-with-past"


def export_with_optimum(model: WhisperForConditionalGeneration, folder: Path, graphs: Sequence[str]) -> None:
    """Write the float32 files of some graphs of `OPTIMUM_GRAPHS` to a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about constants and folding; the proofs check the result
        onnx_export_from_model(model.eval(), made, task=TASK, do_validation=False)
        for graph in graphs:
            for path in model_files(Path(made) / onnx_fp32_file(graph)):
                path.replace(folder / path.name)
            share_mode(folder / onnx_fp32_file(graph))


def quantize_with_optimum(source: Path, target: Path, bits: WeightBits, keep: Collection[str] = ()) -> None:
    """Quantize a float32 file with ORTQuantizer, and write it to `target`.

    bits: of the weights; seven are exact on every CPU (see `scripts.exporting.quantization`), eight are optimum's
    default. keep: names of nodes that stay in float32.
    """
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False, nodes_to_exclude=list(keep))
    settings.reduce_range = bits == 7
    log = logging.getLogger("optimum.onnxruntime.quantization")
    level = log.level
    log.setLevel(logging.ERROR)  # it misses the model's settings, which it would only write again
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as made:
            model = onnx.load(source)
            restore_halves(model.graph)  # it quantizes no weights that are behind a Cast
            save(model, Path(made) / source.name)
            quantizer = ORTQuantizer.from_pretrained(made, file_name=source.name)
            quantizer.quantize(save_dir=Path(made) / "int8", quantization_config=settings, file_suffix="")
            shutil.move(Path(made) / "int8" / source.name, target)
    finally:
        log.setLevel(level)


def nodes_matching(paths: Sequence[Path], patterns: Sequence[str]) -> set[str]:
    """Names of the nodes that match one of the patterns, such as `*/proj_out/*`, in one or several files.

    Raises ValueError if a pattern matches no node.
    """
    names = {
        node.name
        for path in (paths if patterns else ())
        for graph in graphs_of(onnx.load(path, load_external_data=False).graph)
        for node in graph.node
    }
    kept: set[str] = set()
    for pattern in patterns:
        matching = {name for name in names if fnmatchcase(name, pattern)}
        if not matching:
            raise ValueError(f"no node matches {pattern}")
        kept |= matching
    return kept
