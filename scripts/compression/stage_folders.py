"""The results of a study's stages: a folder for each, which is complete or absent.

    OUT/trained/6x512-distil-0a1b2c3d4e5f/        a result, with result.json
    OUT/partial/trained/6x512-distil-0a1b2c3d4e5f/   the same while it is made

The end of a folder's name is the hash of everything that the result depends on. With other inputs, the result has
another folder, and the old one stays. No path is part of a hash, so `OUT` can be copied to another machine.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.families.ctc.language_model import FOLDER as LANGUAGE_MODEL_FOLDER

RESULT = "result.json"
PARTIAL = "partial"
"""The folder of results that are not complete."""
KEY_DIGITS = 12
"""Hexadecimal digits of a key: 48 bits."""
TABLES = frozenset({".json", ".jsonl", ".csv", ".tsv", ".txt", ".scp"})
"""Suffixes of the files in the folder of a data set whose content counts; of others, such as audio, the size does."""


def key_of(inputs: Any) -> str:
    """The hash of the inputs of a stage: mappings, lists, texts, numbers and None."""
    text = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def hash_of_checkpoint(folder: Path) -> str:
    """The hash of a checkpoint: of the names and the contents of the files in its folder and its language model."""
    found = hashlib.sha256()
    files = [path for path in folder.iterdir() if path.is_file() and is_of_checkpoint(path)]
    files += [path for path in (folder / LANGUAGE_MODEL_FOLDER).glob("*") if path.is_file()]
    for path in sorted(files):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:KEY_DIGITS]


def is_of_checkpoint(path: Path) -> bool:
    """Whether a file is of a checkpoint itself, and not of an artifact that was made from it."""
    return path.suffix in (".json", ".safetensors", ".bin", ".txt") and path.name not in ("manifest.json", RESULT)


def hash_of_data(name: str) -> str:
    """The hash of a data set: of a table, or of the names and sizes of a folder's files and the content of its tables.

    name: as for `load_speech`. Of a hub id, only the name counts. No name has an empty hash.
    """
    if not name:
        return ""
    path = Path(name)
    if path.is_file():
        with path.open("rb") as table:
            return hashlib.file_digest(table, "sha256").hexdigest()[:KEY_DIGITS]
    found = hashlib.sha256()
    if not path.is_dir():
        found.update(name.encode())
    for file in sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else ():
        found.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        if file.suffix in TABLES:
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:KEY_DIGITS]


def write_json(path: Path, content: Any) -> None:
    """Write a file that is complete or absent, even if the machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError or ValueError."""
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Stage:
    """The result of one stage, whether or not it exists.

    out: the folder of the study. kind: of stage, such as "trained". name: of what it is made for. key: the hash of its
    inputs.
    """

    out: Path
    kind: str
    name: str
    key: str

    @property
    def folder(self) -> Path:
        """The folder of the result."""
        return self.out / self.kind / f"{self.name}-{self.key}"

    @property
    def partial(self) -> Path:
        """The folder in which the result is made."""
        return self.out / PARTIAL / self.kind / f"{self.name}-{self.key}"

    @property
    def is_done(self) -> bool:
        """Whether the result exists."""
        return (self.folder / RESULT).is_file()

    def result(self) -> dict[str, Any]:
        """The content of `result.json`: what was measured, and `took_s`. Raises OSError without one."""
        content: dict[str, Any] = read_json(self.folder / RESULT)
        return content

    def finish(self, result: Mapping[str, Any], took_s: float) -> None:
        """Complete the result that was made in `partial`."""
        write_json(self.partial / RESULT, {**result, "took_s": round(took_s, 1)})
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.folder.exists():  # without a result.json: a copy that was interrupted
            shutil.rmtree(self.folder)
        self.partial.replace(self.folder)

    def made(self, make: Callable[[Path], Mapping[str, Any]], *, resumes: bool = False) -> dict[str, Any]:
        """The result; if there is none, it is made.

        make: fills an empty folder and returns the result; it may raise. resumes: the folder keeps what an earlier try
        left in it.
        """
        if not self.is_done:
            if not resumes:
                shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True, exist_ok=True)
            begin = time.monotonic()
            self.finish(make(self.partial), time.monotonic() - begin)
        return self.result()
