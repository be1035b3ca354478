"""A model folder and its `manifest.json`, which lists the proofs of its files.

An artifact is a folder with model files, the settings files under their Hugging Face names, and a manifest. A
checkpoint folder has the same settings files and PyTorch weights, so the same code opens both. The model's family reads
the settings.

The manifest has the hash of every file and the proofs, each with its measured value and limit. Whatever makes the
folder unproven is an error or, if the caller accepts unproven models, noted as a reason and logged.
"""

import hashlib
import json
import logging
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from app.files import describe_broken_file
from app.languages import card_language

logger = logging.getLogger("dikte")

MANIFEST_NAME = "manifest.json"
MANIFEST_FORMAT = 3
"""Format 1 had no proofs, format 2 no evidence for them."""
CONFIG_NAME = "config.json"
NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")
"""A JSON array of numbers only. Such an array is written on one line, not one number per line."""


class ArtifactError(Exception):
    """A model folder that cannot be served; the message says why and what to do."""


class UnprovenError(ArtifactError):
    """A model folder that could run, but whose output may differ from its checkpoint's."""


@dataclass(frozen=True)
class Proof:
    """A measured value of a backend's model, and whether it is within its limit.

    measured: None if the measurement gave no finite number; such a proof fails.
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
        """Compare a measured value with its limit."""
        kept = measured <= limit if bound == "at most" else measured >= limit
        finite = math.isfinite(measured)
        return cls(backend, name, measured if finite else None, bound, limit, passed=finite and kept)

    def __str__(self) -> str:
        measured = "no number" if self.measured is None else f"{self.measured:.4g}"
        return f"{self.name} of {self.backend} is {measured}, must be {self.bound} {self.limit:g}"


@dataclass(frozen=True)
class Artifact:
    """An opened model folder.

    unproven_reasons: why the folder is unproven, noted as they are found. Only with `allow_unproven`; otherwise the
    first one is raised as an error.
    """

    folder: Path
    name: str
    manifest: dict[str, Any]
    allow_unproven: bool = False
    unproven_reasons: list[str] = field(default_factory=list, compare=False)

    @cached_property
    def language(self) -> str | None:
        """ISO 639 code of the language that the model card in the folder names; None if it names none or several."""
        return card_language(self.folder)

    @property
    def created(self) -> int:
        """The date in the manifest, in seconds since 1970; 0 if it has none."""
        try:
            return int(datetime.fromisoformat(str(self.manifest.get("created"))).replace(tzinfo=UTC).timestamp())
        except ValueError:
            return 0

    @property
    def proving_command(self) -> str:
        """The command that proves the files in the folder again."""
        return f"python scripts/export.py --adopt --checkpoint_dir CHECKPOINT --onnx_dir {self.folder}"

    @property
    def files(self) -> dict[str, Any]:
        """File name -> its entry in the manifest; empty without a manifest."""
        files = self.manifest.get("files")
        return files if isinstance(files, dict) else {}

    def file(self, name: str) -> Path:
        """Path of a file that an engine needs, after checking its hash and that of its external weights.

        Raises ArtifactError if it is missing or broken, UnprovenError if it differs from the manifest.
        """
        path = self.folder / name
        for part in (name, f"{name}_data", f"{name}.data"):  # above 2 GB the weights are external, under these names
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
        """Compare a file's hash with the manifest; does nothing without a manifest.

        Raises ArtifactError if the file is broken, UnprovenError if it differs or is not listed, unless that is
        allowed.
        """
        if broken := describe_broken_file(self.folder / name):
            raise ArtifactError(broken)
        if not self.files:
            return
        described = self.files.get(name)
        if not isinstance(described, dict):
            self.note_unproven(f"{MANIFEST_NAME} does not describe {name}")
        elif not (self.folder / name).is_file() or sha256_of(self.folder / name) != described.get("sha256"):
            self.note_unproven(f"{name} is not the file that {MANIFEST_NAME} describes (sha256)")

    def read_json(self, name: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        """The object in a JSON file; if the file is missing, `default` unless that is None.

        Raises ArtifactError if it is missing without a default, or broken.
        """
        return _read_json(self.folder / name, default)

    def check_proofs(self, backend: str) -> None:
        """Check that the manifest proves the artifact, on this backend too.

        Raises UnprovenError if not, unless that is allowed.
        """
        if reason := why_unproven(self.manifest, backend):
            self.note_unproven(f"{reason}; prove it anew with `{self.proving_command}`")

    def note_unproven(self, reason: str) -> None:
        """Record and log a reason why the folder is unproven. Raises UnprovenError instead, unless that is allowed."""
        message = f"{self.name} is not proven: {reason}"
        if not self.allow_unproven:
            raise UnprovenError(message)
        if message not in self.unproven_reasons:  # two engines of one model report the same
            logger.error("USED ANYWAY: %s", message)
            self.unproven_reasons.append(message)


def open_artifact(folder: Path, allow_unproven: bool = False) -> Artifact:
    """Open a model folder. Raises ArtifactError if it does not exist or its manifest is broken."""
    if not folder.is_dir():
        raise ArtifactError(f"there is no model folder {folder}")
    manifest = read_manifest(folder)
    return Artifact(folder, str(manifest.get("name") or folder.resolve().name), manifest, allow_unproven)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; empty if there is none. Raises ArtifactError if it is broken."""
    return _read_json(folder / MANIFEST_NAME, default={})


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """Write the manifest atomically and return its path."""
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
    """Why a manifest does not prove a backend; None if it does."""
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
        has_evidence = any(backend in hypotheses for hypotheses in manifest["evidence"]["clips"].values())
    except (AttributeError, KeyError, TypeError):
        has_evidence = False
    return None if has_evidence else f"{MANIFEST_NAME} keeps no evidence of {backend}"


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
