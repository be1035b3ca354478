"""Locust's users, run for a while, and what came of it."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.common import ROOT
from scripts.load_testing.answers import LoadError, References, Tally
from scripts.load_testing.encoding import DEFAULT_FORMATS, formats_of
from scripts.load_testing.load_clips import DEFAULT_MIX, Clip, in_formats, long_clip, short_clips
from scripts.load_testing.load_figures import LoadFigures
from scripts.load_testing.service_metrics import ServerFigures, scrape

LOCUSTFILE = ROOT / "locust" / "locustfile.py"
STOP_TIMEOUT_S = 120
"""Users may finish what they have begun when the time is over."""
OUTPUT_TAIL_CHARACTERS = 3_000


@dataclass(frozen=True)
class Load:
    """Who uploads what for how long. duration_s: from the first user on. The rest: as in locust/locustfile.py."""

    users: int = 10
    spawn_rate: float = 2.0
    duration_s: float = 60.0
    clips_s: str = DEFAULT_MIX
    long_users: int = 1
    long_s: float = 120.0
    formats: str = DEFAULT_FORMATS

    @property
    def clips(self) -> list[Clip]:
        """All that is uploaded."""
        clips = short_clips(self.clips_s) + ([long_clip(self.long_s)] if self.long_users else [])
        return in_formats(clips, formats_of(self.formats))

    def described(self) -> dict[str, str]:
        """For the report."""
        short = short_clips(self.clips_s)
        mean_s = sum(clip.duration_s for clip in short) / len(short)
        long = f"{self.long_users} with a file of {self.long_s:g} s" if self.long_users else "none with a long file"
        return {
            "users": f"{self.users}, {self.spawn_rate:g} more each second, {long}; no pauses",
            "clips": f"{len(short)} from samples/, {self.clips_s} s long, {mean_s:.2f} s on average",
            "formats": f"{self.formats}, each clip in each of them",
            "time": f"{self.duration_s:g} s; the figures are of the time when all users were there",
        }


@dataclass(frozen=True)
class Measured:
    """What came of one load.

    by_kind: "all", and each kind of user. by_format: each format that was sent. failures: over the whole time.
    """

    by_kind: dict[str, LoadFigures]
    by_format: dict[str, LoadFigures]
    server: ServerFigures | None
    failures: int

    @property
    def all(self) -> LoadFigures:
        """Of all users together."""
        return self.by_kind["all"]


def run_locust(url: str, load: Load, references: References) -> Tally:
    """Run Locust in a process of its own until the time is over. Raises LoadError with what it printed if it fails."""
    with tempfile.TemporaryDirectory(prefix="dikte-load-") as folder:
        texts, answers = Path(folder) / "references.json", Path(folder) / "tally.json"
        references.save(texts)
        options = {
            "--locustfile": LOCUSTFILE,
            "--host": url,
            "--users": load.users,
            "--spawn-rate": load.spawn_rate,
            "--run-time": f"{max(1, round(load.duration_s))}s",
            "--stop-timeout": STOP_TIMEOUT_S,
            "--exit-code-on-error": 0,  # failures are counted, and reported below
            "--clips_s": load.clips_s,
            "--long_users": load.long_users,
            "--long_s": load.long_s,
            "--formats": load.formats,
            "--references": texts,
            "--tally": answers,
        }
        command = [sys.executable, "-m", "locust", "--headless", "--only-summary"]
        command += [str(word) for option in options.items() for word in option]
        ended = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if ended.returncode or not answers.is_file():
            raise LoadError(f"locust failed ({ended.returncode}):\n{ended.stdout[-OUTPUT_TAIL_CHARACTERS:]}")
        return Tally.load(answers)


def measure(url: str, load: Load, references: References) -> Measured:
    """Load a service that is ready, and ask it before and after for its own figures."""
    before, begin = scrape(url), time.monotonic()
    tally = run_locust(url, load, references)
    server = ServerFigures.between(before, scrape(url), time.monotonic() - begin)
    if not 0 < tally.spawned_s < tally.stopped_s:
        raise LoadError("the time was over before all users were there")
    window = tally.spawned_s, tally.stopped_s
    kinds = sorted({answer.kind for answer in tally.answers}, reverse=True)
    by_kind = {
        kind: LoadFigures.of((answer for answer in tally.answers if answer.kind == kind), *window) for kind in kinds
    }
    by_kind = {"all": LoadFigures.of(tally.answers, *window)} | (by_kind if len(by_kind) > 1 else {})
    by_format = LoadFigures.by_format(tally.answers, *window)
    return Measured(by_kind, by_format, server, sum(answer.failed for answer in tally.answers))
