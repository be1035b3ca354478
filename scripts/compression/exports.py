"""The artifacts of a study's points: made and proven by `scripts/export.py`, with their sizes."""

import gzip
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.artifacts import MANIFEST_NAME, read_manifest, why_unproven
from app.families.ctc import GRAPH
from app.families.ctc.checkpoint import load_checkpoint
from app.runtimes.registry import ONNX_INT8, onnx_fp32_file, onnx_int8_file, openvino_int8_file
from scripts.benchmarking.ctc_engines import quantized_by_pytorch
from scripts.common.model_files import model_files
from scripts.compression.plan import Point
from scripts.exporting.exporter import Options
from scripts.exporting.graph_export import Quantization

Export = Callable[[str, Path, Options], Any]
"""`scripts.export.export`."""
FILES = {"onnx": onnx_fp32_file(GRAPH), "onnx_int8": onnx_int8_file(GRAPH), "openvino": openvino_int8_file(GRAPH)}
"""Backend -> the file that it reads."""
FOUR_BITS = 4
"""OpenVINO's file has no weights of so few bits."""
GZIP_LEVEL = 6
CHUNK_BYTES = 1 << 20
PYTORCH_INT8_FILE = "pytorch_int8.pt"


def export_point(
    export: Export, point: Point, checkpoint: Path, folder: Path, *, openvino: bool, options: Options
) -> dict[str, Any]:
    """Make and prove the artifact of a point in `folder`. An artifact that fails a proof is kept, and marked as such.

    checkpoint: from which it is made. options: those that all points share. Returns `unproven` (why, or None),
    `parameters`, `checkpoint_bytes` (in float32), `size_bytes` and `gzip_bytes` by backend. Raises ArtifactError and
    DataError as `export` does.
    """
    quantization = Quantization(bits=point.weight_bits)  # type: ignore[arg-type]  # argparse has checked it
    own = replace(
        options,
        name=point.name,
        allow_unproven=True,
        quantization=quantization,
        openvino=openvino and point.weight_bits != FOUR_BITS,
    )
    export(str(checkpoint), folder, own)
    assert (folder / MANIFEST_NAME).is_file()
    sizes, compressed = {}, {}
    for backend, name in FILES.items():
        if (folder / name).is_file():
            files = model_files(folder / name)
            sizes[backend] = sum(path.stat().st_size for path in files)
            compressed[backend] = sum(map(gzip_bytes, files))
    parameters = int(load_checkpoint(checkpoint).model.num_parameters())
    return {
        "unproven": why_unproven(read_manifest(folder), ONNX_INT8),
        "parameters": parameters,
        "checkpoint_bytes": parameters * torch.finfo(torch.float32).bits // 8,
        "size_bytes": sizes,
        "gzip_bytes": compressed,
    }


class _Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        pass


def gzip_bytes(path: Path) -> int:
    """The size of a file after gzip."""
    counter = _Counter()
    with (
        path.open("rb") as file,
        gzip.GzipFile(fileobj=counter, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as packed,
    ):
        while chunk := file.read(CHUNK_BYTES):
            packed.write(chunk)
    return counter.count


def write_pytorch_int8(checkpoint: Path, folder: Path) -> dict[str, Any]:
    """Write the weights of a checkpoint in PyTorch's dynamic INT8, whose size is that of this engine."""
    model = quantized_by_pytorch(load_checkpoint(checkpoint).model.eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # quantized tensors are deprecated
        torch.save(model.state_dict(), folder / PYTORCH_INT8_FILE)
    return {"size_bytes": (folder / PYTORCH_INT8_FILE).stat().st_size}
