"""Run Locust's users for a while, and collect the figures."""

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
"""Time for users to finish their current request at the end of the test."""
OUTPUT_TAIL_CHARACTERS = 3_000


@dataclass(frozen=True)
class Load:
    """The parameters of a load test.

    duration_s: from the start of the first user. The others are options of locust/locustfile.py.
    """

    users: int = 10
    spawn_rate: float = 2.0
    duration_s: float = 60.0
    clips_s: str = DEFAULT_MIX
    long_users: int = 1
    long_s: float = 120.0
    formats: str = DEFAULT_FORMATS
    speech: str = ""

    @property
    def clips(self) -> list[Clip]:
        """All clips that are uploaded. Raises the errors of `short_clips`."""
        long = [long_clip(self.long_s, self.speech)] if self.long_users else []
        clips = short_clips(self.clips_s, self.speech) + long
        return in_formats(clips, formats_of(self.formats))

    def described(self) -> dict[str, str]:
        """The parameters in words, for the report."""
        short = short_clips(self.clips_s, self.speech)
        source = f"whole ones of {self.speech}, nearest to" if self.speech else "from samples/,"
        mean_s = sum(clip.duration_s for clip in short) / len(short)
        long = f"{self.long_users} with a file of {self.long_s:g} s" if self.long_users else "none with a long file"
        return {
            "users": f"{self.users}, starting {self.spawn_rate:g} per second, {long}; no pauses",
            "clips": f"{len(short)} {source} {self.clips_s} s long, {mean_s:.2f} s on average",
            "formats": f"{self.formats}, each clip in each format",
            "time": f"{self.duration_s:g} s; the figures cover the time when all users were active",
        }


@dataclass(frozen=True)
class Measured:
    """The result of one load test.

    by_kind: figures of all users ("all") and of each kind of user. by_format: figures of each format. server: figures
    from `/metrics`, if there are any. failures: number of failures over the whole test.
    """

    by_kind: dict[str, LoadFigures]
    by_format: dict[str, LoadFigures]
    server: ServerFigures | None
    failures: int

    @property
    def all(self) -> LoadFigures:
        """The figures of all users together."""
        return self.by_kind["all"]


def run_locust(url: str, load: Load, references: References) -> Tally:
    """Run Locust in a child process until the end of the test. Raises LoadError with its output if it fails."""
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
            "--exit-code-on-error": 0,  # failed requests are counted in the report
            "--clips_s": load.clips_s,
            "--long_users": load.long_users,
            "--long_s": load.long_s,
            "--formats": load.formats,
            "--speech": load.speech,
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
    """Run a load test on a service that is ready. Scrapes its metrics before and after.

    Raises LoadError if Locust fails, or if the test ends before all users have started.
    """
    before, begin = scrape(url), time.monotonic()
    tally = run_locust(url, load, references)
    server = ServerFigures.between(before, scrape(url), time.monotonic() - begin)
    if not 0 < tally.spawned_s < tally.stopped_s:
        raise LoadError("the test ended before all users had started")
    window = tally.spawned_s, tally.stopped_s
    kinds = sorted({answer.kind for answer in tally.answers}, reverse=True)
    by_kind = {
        kind: LoadFigures.of((answer for answer in tally.answers if answer.kind == kind), *window) for kind in kinds
    }
    by_kind = {"all": LoadFigures.of(tally.answers, *window)} | (by_kind if len(by_kind) > 1 else {})
    by_format = LoadFigures.by_format(tally.answers, *window)
    return Measured(by_kind, by_format, server, sum(answer.failed for answer in tally.answers))
