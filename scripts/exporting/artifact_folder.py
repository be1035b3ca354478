"""An artifact folder while it is being made: its settings files and its manifest."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.artifacts import MANIFEST_FORMAT, MANIFEST_NAME, ArtifactError, read_manifest, sha256_of
from app.families.ctc.language_model import FOLDER as LANGUAGE_MODEL_FOLDER
from app.families.ctc.language_model import KENLM_SUFFIXES
from scripts.common.model_files import copy_parts
from scripts.exporting.proofs import Measurements
from scripts.exporting.timing import Latency

TRAINING_FILE = "training.json"
"""The record of `train.py`."""
DESCRIBED_SUFFIXES = frozenset(
    {".txt", ".onnx", ".onnx_data", ".data", ".json", ".safetensors", ".bin", ".xml", ".flac", ".npz", *KENLM_SUFFIXES}
)
"""Suffixes of the files that the manifest describes: models, their settings, and the evidence clips."""
DESCRIBED_FOLDERS = (LANGUAGE_MODEL_FOLDER,)
"""Folders whose files the manifest describes, too."""
TOOLS = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime")


def take_manifest(folder: Path) -> dict[str, Any]:
    """Remove the manifest, because the files that it describes are about to change. Returns its content.

    The content is empty if there was no manifest, or if it could not be read.
    """
    try:
        return read_manifest(folder)
    except ArtifactError:
        return {}
    finally:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)


def copy_settings(source: Path, target: Path, names: Sequence[str], keep: bool) -> None:
    """Copy the files that the checkpoint has, and the record of its training.

    names: of settings files and folders. keep: do not overwrite those that exist in the target.
    """
    copy_parts(source, target, [name for name in (*names, TRAINING_FILE) if not (keep and (target / name).exists())])


def revision_of(snapshot: Path) -> str | None:
    """The commit of a checkpoint in the hub's cache, which is the name of its folder; None for any other folder."""
    return snapshot.name if snapshot.parent.name == "snapshots" else None


def describe(
    folder: Path,
    name: str,
    origin: dict[str, Any],
    quantization: dict[str, Any],
    measured: Measurements,
    clips: dict[str, Any],
    latency: Latency,
) -> dict[str, Any]:
    """The content of the manifest: source, files with hashes, tools, proofs, evidence and latency."""
    return {
        "format": MANIFEST_FORMAT,
        "name": name,
        **origin,
        "created": datetime.now(UTC).date().isoformat(),
        "files": describe_files(folder),
        "tools": {tool: version(tool) for tool in TOOLS},
        "quantization": quantization,
        "proofs": measured.to_json(),
        "evidence": clips,
        "latency": asdict(latency),
    }


def describe_files(folder: Path) -> dict[str, Any]:
    """Name of each file that the manifest describes -> its hash and size. Those of folders have names with a slash."""
    inside = [folder, *(folder / name for name in DESCRIBED_FOLDERS if (folder / name).is_dir())]
    files = sorted(
        path
        for part in inside
        for path in part.iterdir()
        if path.suffix in DESCRIBED_SUFFIXES and path.is_file() and path.name != MANIFEST_NAME
    )
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in files
    }
