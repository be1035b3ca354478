"""The state of a study that is not in the results of its stages: `study.json`. It has no paths of the machine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.compression.stage_folders import read_json, write_json

STATE = "study.json"
WRITE_EVERY_S = 30.0


class StudyState:
    """`study.json` in the folder of a study. Each change is written at once.

    Its entries: `hashes` of the teacher and the data; `shapes`, of the probe; `steps`, by the key of a training without
    its steps; `left_out`, name of a training -> reason; `failed`, name -> reason; `spent_s`, kind of stage -> seconds
    of wall time.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / STATE
        try:
            self._content: dict[str, Any] = read_json(self._path)
        except FileNotFoundError:
            self._content = {}
        self._kind, self._since = "", 0.0

    def get(self, entry: str, default: Any = None) -> Any:
        """An entry, or the default."""
        return self._content.get(entry, default)

    def set(self, **entries: Any) -> None:
        """Replace entries."""
        self._content |= entries
        write_json(self._path, self._content)

    @property
    def spent_s(self) -> float:
        """Seconds of wall time of all runs so far, over all stages."""
        running = time.monotonic() - self._since if self._kind else 0.0
        return float(sum(self.get("spent_s", {}).values())) + running

    @contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Add the wall time of the block to `spent_s`, whatever ends it. `tick` writes it in between."""
        self._kind, self._since = kind, time.monotonic()
        try:
            yield
        finally:
            self._add()
            self._kind = ""

    def tick(self) -> None:
        """Called again and again in a block of `spending`: a study that is killed forgets no more than a minute."""
        if self._kind and time.monotonic() - self._since > WRITE_EVERY_S:
            self._add()

    def _add(self) -> None:
        now = time.monotonic()
        spent = dict(self.get("spent_s", {}))
        spent[self._kind] = round(spent.get(self._kind, 0.0) + now - self._since, 3)
        self._since = now
        self.set(spent_s=spent)
