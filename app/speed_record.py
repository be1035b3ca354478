"""Keeps measured backend speeds between starts: beside the model or, if that is read-only, in a cache.

A record is valid only for its key, which contains everything that can change the speeds. A file keeps the latest
records, because several machines may share a folder. Files are written atomically; if two processes write at once, one
loses its record and measures again at its next start.
"""

import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

BESIDE_MODEL = ".speeds"
"""File in the model folder. It has no suffix, so `scripts/export.py` does not list it in the manifest."""
IN_CACHE = "speed.json"
MAX_RECORDS = 32
PRIVATE = 0o700

Key = Mapping[str, Any]
Speeds = dict[str, float]


class Record(NamedTuple):
    """Speeds of backends (seconds of audio computed per second) and the conditions under which they are valid."""

    key: Key
    speeds: Speeds


def record_files(folder: Path) -> list[Path]:
    """Possible locations of the record of the model in `folder`, in order of preference."""
    files = [folder / BESIDE_MODEL]
    if (cache := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():  # XDG: relative paths are invalid
        files.append(cache / "dikte" / IN_CACHE)
    with suppress(RuntimeError):  # the user has no home directory
        files.append(Path.home() / ".cache" / "dikte" / IN_CACHE)
    user = os.getuid() if hasattr(os, "getuid") else 0
    temporary = Path(tempfile.gettempdir()) / f"dikte-{user}"
    if _owner(temporary) in (None, user):  # other users can write to the parent folder and may have made this one
        files.append(temporary / IN_CACHE)
    return files


def recall(files: Iterable[Path], key: Key) -> Speeds | None:
    """The speeds stored under this key, from the first file that has them; None if none has.

    An unreadable file counts as empty.
    """
    for path in files:
        for record in _read(path):
            if record.key == key:
                return record.speeds
    return None


def keep(files: Iterable[Path], key: Key, speeds: Speeds) -> Path | None:
    """Store the speeds in the first writable file. Returns its path; None if none is writable."""
    for path in files:
        records = [Record(dict(key), speeds), *(record for record in _read(path) if record.key != key)]
        with suppress(OSError):
            path.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            _write(path, {"records": [record._asdict() for record in records[:MAX_RECORDS]]})
            return path
    return None


def _read(path: Path) -> list[Record]:
    """The records of a file, newest first; empty unless `keep` wrote the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            Record(dict(record["key"]), {str(name): _speed(speed) for name, speed in record["speeds"].items()})
            for record in content["records"]
        ]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []


def _speed(value: Any) -> float:
    speed = float(value)
    if not 0 < speed < math.inf:
        raise ValueError(f"{value} is not a speed")
    return speed


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _owner(folder: Path) -> int | None:
    """User id of the owner of a folder, or of a link in its place; None if there is neither."""
    try:
        return folder.lstat().st_uid
    except OSError:
        return None
