"""What was measured of backends' speeds, kept between starts: beside the model or, where that is read-only, in a cache.

A record holds for its key alone: whatever can change the speeds is in there. A file holds the latest few records, for
several machines may share a folder. Files are written whole or not at all; of two processes that write at once one
loses its record, and measures again at its next start.
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
"""In the model folder, of which it is no part: without a suffix, `scripts/export.py` does not describe it."""
IN_CACHE = "speed.json"
MOST_RECORDS = 32
PRIVATE = 0o700

Key = Mapping[str, Any]
Speeds = dict[str, float]


class Record(NamedTuple):
    """The speeds of backends (seconds of sound computed per second), and under which conditions they hold."""

    key: Key
    speeds: Speeds


def record_files(folder: Path) -> list[Path]:
    """Where a record of the model in `folder` may be, in the order of preference."""
    files = [folder / BESIDE_MODEL]
    if (cache := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():  # others are invalid, says XDG
        files.append(cache / "dikte" / IN_CACHE)
    with suppress(RuntimeError):  # a user without a home
        files.append(Path.home() / ".cache" / "dikte" / IN_CACHE)
    user = os.getuid() if hasattr(os, "getuid") else 0
    temporary = Path(tempfile.gettempdir()) / f"dikte-{user}"
    if _owner(temporary) in (None, user):  # others may write to the folder above, and make this one first
        files.append(temporary / IN_CACHE)
    return files


def recall(files: Iterable[Path], key: Key) -> Speeds | None:
    """The speeds kept under this key, from the first file that has them; None if none has.

    A file that cannot be read is as good as none.
    """
    for path in files:
        for record in _read(path):
            if record.key == key:
                return record.speeds
    return None


def keep(files: Iterable[Path], key: Key, speeds: Speeds) -> Path | None:
    """Keep the speeds in the first file that can be written. Returns its path; None if none can."""
    for path in files:
        records = [Record(dict(key), speeds), *(record for record in _read(path) if record.key != key)]
        with suppress(OSError):
            path.parent.mkdir(PRIVATE, parents=True, exist_ok=True)
            _write(path, {"records": [record._asdict() for record in records[:MOST_RECORDS]]})
            return path
    return None


def _read(path: Path) -> list[Record]:
    """The records of a file, newest first; none if it is not what `keep` writes."""
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
        raise ValueError(f"{value} is no speed")
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
    """The id of the user that a folder, or a link in its place, belongs to; None if there is none."""
    try:
        return folder.lstat().st_uid
    except OSError:
        return None
