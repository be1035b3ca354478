"""A model folder and its `manifest.json`, which says what is proven of its files.

An artifact is a folder with model files, the settings files in their Hugging Face names, and a manifest. A checkpoint
folder has the same settings files and PyTorch weights, so both are opened by the same code. What the settings say is
read by the model's family.

The manifest has the hash of every file and the proofs, each with what was measured and the limit that it kept. Whatever
speaks against using a folder is a doubt: it is an error, or noted down where the one who opens it takes the risk.
"""

import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from app.files import describe_broken_file

logger = logging.getLogger("dikte")

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 3
"""Format 1 had no proofs, format 2 no evidence of them."""
CONFIG_NAME = "config.json"
NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")
"""A JSON array of nothing but numbers. Hundreds of them are written on one line, not each on its own."""


class ArtifactError(Exception):
    """A model folder that cannot be served; the message says why and what to do."""


class UnprovenError(ArtifactError):
    """A model folder that would run, but may not say what its checkpoint says."""


@dataclass(frozen=True)
class Proof:
    """One figure that was measured of a backend's model, and whether it kept its limit.

    measured is None where the measurement gave no finite number; that is no proof.
    """

    backend: str
    name: str
    measured: float | None
    bound: Literal["at most", "at least"]
    limit: float
    passed: bool

    @classmethod
    def judge(
        cls, backend: str, name: str, measured: float, bound: Literal["at most", "at least"], limit: float
    ) -> Self:
        """Compare a figure with its limit."""
        kept = measured <= limit if bound == "at most" else measured >= limit
        finite = math.isfinite(measured)
        return cls(backend, name, measured if finite else None, bound, limit, passed=finite and kept)

    def __str__(self) -> str:
        measured = "no number" if self.measured is None else f"{self.measured:.4g}"
        return f"{self.name} of {self.backend} is {measured}, must be {self.bound} {self.limit:g}"


@dataclass(frozen=True)
class Artifact:
    """An opened model folder.

    doubts: what speaks against using it, noted down in the course of its use; only with `allow_unproven`, for else a
    doubt is an error.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    allow_unproven: bool = False
    doubts: list[str] = field(default_factory=list, compare=False)

    @property
    def proving_command(self) -> str:
        """What proves the files in the folder anew."""
        return f"python scripts/export.py --adopt --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}"

    @property
    def files(self) -> dict[str, Any]:
        """Name -> what the manifest says of a file; empty without a manifest."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    def file(self, name: str) -> Path:
        """Path of a file that an engine needs, after its hash, and that of weights beside it, was compared.

        Raises ArtifactError if it is missing or broken, UnprovenError if it is not the file the manifest speaks of.
        """
        path = self.folder / name
        for part in (name, f"{name}_data", f"{name}.data"):  # above 2 GB the weights lie outside, under these names
            if broken := describe_broken_file(self.folder / part):
                raise ArtifactError(broken)
        if not path.is_file():
            raise ArtifactError(
                f"{name} is missing in {self.folder}: make it with "
                f"`python scripts/export.py --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}`"
            )
        self.verify(name)
        for weights in self.files:
            if weights.startswith((f"{name}_", f"{name}.")):
                self.verify(weights)
        return path

    def verify(self, name: str) -> None:
        """Compare a file's hash with the manifest. Without a manifest there is nothing to compare with.

        Raises ArtifactError if it is broken, UnprovenError if it differs or is not described, unless that is allowed.
        """
        if broken := describe_broken_file(self.folder / name):
            raise ArtifactError(broken)
        if not self.files:
            return
        described = self.files.get(name)
        if not isinstance(described, dict):
            self.doubt(f"{MANIFEST_NAME} does not describe {name}")
        elif not (self.folder / name).is_file() or sha256_of(self.folder / name) != described.get("sha256"):
            self.doubt(f"{name} is not the file that {MANIFEST_NAME} describes (sha256)")

    def read_json(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """The object in a JSON file; `default`, if there is one, where the file is missing.

        Raises ArtifactError if it is missing or broken.
        """
        return _read_json(self.folder / name, default)

    def check_proofs(self, backend: str) -> None:
        """Look whether everything that was to be proven is, for this backend too.

        Raises UnprovenError if not, unless that is allowed.
        """
        if reason := why_unproven(self.manifest, backend):
            self.doubt(f"{reason}; prove it anew with `{self.proving_command}`")

    def doubt(self, reason: str) -> None:
        """Note what speaks against using it down, loudly. Raises UnprovenError instead, unless that is allowed."""
        doubt = f"{self.name} is not proven: {reason}"
        if not self.allow_unproven:
            raise UnprovenError(doubt)
        if doubt not in self.doubts:  # two engines of one model say the same
            logger.error("USED ALL THE SAME: %s", doubt)
            self.doubts.append(doubt)


def open_artifact(folder: Path, allow_unproven: bool = False) -> Artifact:
    """Open a model folder. Raises ArtifactError if there is none, or its manifest is broken."""
    if not folder.is_dir():
        raise ArtifactError(f"there is no model folder {folder}")
    manifest = read_manifest(folder)
    return Artifact(folder, str(manifest.get("name") or folder.resolve().name), manifest, allow_unproven)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is written of a folder; empty if there is no manifest. Raises ArtifactError if it is broken."""
    return _read_json(folder / MANIFEST_NAME, default={})


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write the manifest whole or not at all, and give its path."""
    path = folder / MANIFEST_NAME
    part = folder / f".{MANIFEST_NAME}.part"
    try:
        text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def why_unproven(manifest: dict[str, Any], backend: str) -> str | None:
    """What keeps a manifest from proving that a backend says what the checkpoint says; None if nothing does."""
    if not manifest:
        return f"there is no {MANIFEST_NAME}"
    if manifest.get("format") != MANIFEST_FORMAT:
        return f"{MANIFEST_NAME} is of format {manifest.get('format')}, not {MANIFEST_FORMAT}, which keeps the evidence"
    if not isinstance(manifest.get("files"), dict) or not manifest["files"]:
        return f"{MANIFEST_NAME} describes no files"
    try:
        record = manifest["proofs"]
        proofs = [Proof(**proof) for proof in record["checks"]]
        failed = [str(proof) for proof in proofs if proof.passed is not True]
    except (KeyError, TypeError, ValueError):
        return f"{MANIFEST_NAME} lists no proofs that can be read"
    if failed:
        return "; ".join(failed)
    if backend not in {proof.backend for proof in proofs}:
        return f"{MANIFEST_NAME} lists no proof for {backend}"
    if record.get("proven") is not True:
        return f"{MANIFEST_NAME} says that it is not"
    try:
        said = any(backend in said_by for said_by in manifest["evidence"]["clips"].values())
    except (AttributeError, KeyError, TypeError):
        said = False
    return None if said else f"{MANIFEST_NAME} keeps no evidence of {backend}"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path, default: dict[str, Any] | None = None) -> dict[str, Any]:
    if not path.is_file():
        if default is not None:
            return default
        raise ArtifactError(f"{path.name} is missing in {path.parent}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(describe_broken_file(path) or f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtifactError(f"{path} does not hold a JSON object")
    return value
