"""Load test for a speech-to-text service: users upload clips and check the returned text.

    locust -f locust/locustfile.py --host http://localhost:8000
    locust -f locust/locustfile.py --host http://localhost:8000 --headless -u 10 -r 2 -t 60s
    DIKTE_API_KEY=... locust -f locust/locustfile.py --host https://example.org/path    # a service that needs a key

`ShortClips` users upload clips of mixed lengths (`--clips_s`), `--long_users` of the users a long file (`--long_s`),
each clip in each of `--formats`. They are cut from `samples/`, or are whole clips of a data set (`--speech`). When the
test starts, each file is transcribed once; every later answer must have the same text. A refusal (429) is not a
failure: it has its own row in the statistics, and the user waits for `Retry-After`. Works with `--master` and
`--worker`. `make load` runs this and writes a report.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from scripts.load_testing.answers import Answer, LoadError, References, Tally, upload_headers
from scripts.load_testing.encoding import DEFAULT_FORMATS, FORMATS, formats_of
from scripts.load_testing.load_clips import DEFAULT_MIX, Clip, in_formats, in_turn, long_clip, short_clips
from scripts.load_testing.load_figures import LoadFigures
from scripts.speech.clips import DataError

logger = logging.getLogger("dikte.load")
REFUSED = "refused (429)"
CLIPS_BETWEEN_USERS = 7
"""Users start at different clips, so that they do not all send the same one at the same time."""
ANSWER_TIMEOUT_S = 3600.0
ANSWERS = "dikte_answers"
"""Key of the workers' answers in their reports to the master."""

tally = Tally()
references = References("", {})
user_numbers = count()


class Uploader(FastHttpUser):
    """Uploads one clip after the other, with `--pause_s` between them, and checks each text."""

    abstract = True
    network_timeout = connection_timeout = ANSWER_TIMEOUT_S
    insecure = False  # the key is for the service that the certificate names
    kind: str
    clips: list[Clip]
    headers: dict[str, str]

    def on_start(self) -> None:
        """Start at this user's own clip."""
        if not references.texts:
            raise StopUser()  # there are no reference texts; `prepare` has logged the reason
        self.client.base_url = (self.client.base_url or "").rstrip("/")
        self._turns: Iterator[Clip] = in_turn(self.clips, CLIPS_BETWEEN_USERS * next(user_numbers))

    def wait_time(self) -> float:
        """Seconds between an answer and the next upload."""
        return float(_options(self.environment).pause_s)

    @task
    def upload(self) -> None:
        """Upload a clip and record the answer."""
        answer = self._post(next(self._turns))
        tally.answers.append(answer)
        if answer.retry_after_s is not None:
            time.sleep(answer.retry_after_s)  # gevent's, by Locust's patch: only this user sleeps

    def _post(self, clip: Clip) -> Answer:
        begin = time.perf_counter()
        with self.client.post(
            "/transcribe",
            data=clip.body,  # type: ignore[arg-type]  # bytes are sent as they are
            headers=self.headers,
            name=f"/transcribe {self.kind}",
            catch_response=True,
        ) as response:
            latency_s = time.perf_counter() - begin
            found = {name.lower(): value for name, value in (response.headers or {}).items()}
            content = response.content or b""
            answer = Answer.of(
                self.kind, clip, time.time(), latency_s, response.status_code, found, content,
                references.texts[clip.name],
            )  # fmt: skip
            if answer.refused:
                response.request_meta["name"] = REFUSED
            if answer.failed and answer.status:
                response.failure(f"{answer.status} {answer.outcome}")
            elif answer.status:
                response.success()
        return answer


class ShortClips(Uploader):
    """Clips of mixed lengths, like dictation and voice messages."""

    weight = 1
    kind = "short"


class LongFile(Uploader):
    """A long recording, uploaded by `--long_users` of the users."""

    fixed_count = 1
    kind = "long"


def _options(environment: Environment) -> argparse.Namespace:
    """The options from the command line, as changed on the web page."""
    return environment.parsed_options or argparse.Namespace()


@events.init_command_line_parser.add_listener
def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this file to the command line and the web page."""
    group = parser.add_argument_group("Speech to text")
    group.add_argument("--clips_s", default=DEFAULT_MIX, help="lengths of short clips, seconds: 2-12 or 2,5,10")
    group.add_argument("--long_users", type=int, default=1, help="users who upload a long file (fixed at the start)")
    group.add_argument("--long_s", type=float, default=120.0, help="length of the long file, seconds")
    group.add_argument(
        "--formats", default=DEFAULT_FORMATS, help=f"formats of the clips, in equal shares: some of {','.join(FORMATS)}"
    )
    group.add_argument("--speech", default="", help="data set, as for scripts/evaluate.py (default: samples/)")
    group.add_argument("--pause_s", type=float, default=0.0, help="seconds between an answer and the next upload")
    group.add_argument(
        "--references",
        default="",
        help="file with reference texts (default: the service transcribes when the test starts)",
    )
    group.add_argument("--tally", default="", help="file to write all answers to, as JSON")


@events.init.add_listener
def count_long_users(environment: Environment, **_: Any) -> None:
    """Give `LongFile` the number of users that the options ask for."""
    LongFile.fixed_count = _options(environment).long_users
    if not LongFile.fixed_count and LongFile in environment.user_classes:
        environment.user_classes.remove(LongFile)


@events.init.add_listener
def encode_clips(environment: Environment, **_: Any) -> None:
    """Encode the clips before the test starts, to keep this out of its time; the web page may still ask for others."""
    options = _options(environment)
    if not isinstance(environment.runner, MasterRunner):
        with suppress(DataError, ValueError):  # `prepare` reports it when the test starts
            clips_of(options.clips_s, options.formats, options.speech)
            if options.long_users:
                long_clips_of(options.long_s, options.formats, options.speech)


@cache
def clips_of(lengths_s: str, formats: str, speech: str) -> list[Clip]:
    """The short clips, encoded. Raises the errors of `short_clips`."""
    return _encoded(in_formats(short_clips(lengths_s, speech), formats_of(formats)))


@cache
def long_clips_of(length_s: float, formats: str, speech: str) -> list[Clip]:
    """The long clip in all formats, encoded. Raises the errors of `long_clip`."""
    return _encoded(in_formats([long_clip(length_s, speech)], formats_of(formats)))


def _encoded(clips: list[Clip]) -> list[Clip]:
    for clip in clips:
        clip.encode()
    return clips


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Make the clips, and get their reference texts."""
    global references
    options = _options(environment)
    tally.answers.clear()
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        ShortClips.clips = clips_of(options.clips_s, options.formats, options.speech)
        is_long = LongFile in environment.user_classes
        LongFile.clips = long_clips_of(options.long_s, options.formats, options.speech) if is_long else []
        Uploader.headers = upload_headers()
        if options.references:
            references = References.load(Path(options.references))
        else:
            references = References.ask(environment.host or "", [*ShortClips.clips, *LongFile.clips])
    except (DataError, LoadError, ValueError) as error:
        references = References("", {})
        environment.process_exit_code = 1
        logger.error("%s", error)


@events.spawning_complete.add_listener
def note_spawned(**_: Any) -> None:
    """Note when all users are running."""
    tally.spawned_s = time.time()


@events.test_stopping.add_listener
def note_stopped(**_: Any) -> None:
    """Note when the users start to stop."""
    tally.stopped_s = time.time()


@events.report_to_master.add_listener
def report_answers(data: dict[str, Any], **_: Any) -> None:
    """Send a worker's new answers with its statistics."""
    data[ANSWERS] = [astuple(answer) for answer in tally.answers]
    tally.answers.clear()


@events.worker_report.add_listener
def take_answers(data: dict[str, Any], **_: Any) -> None:
    """Collect the workers' answers in the master."""
    tally.answers += [Answer(*row) for row in data.get(ANSWERS, ())]


@events.quitting.add_listener
def sum_up(environment: Environment, **_: Any) -> None:
    """Print the figures that Locust's statistics do not have, and write the answers to `--tally`."""
    if isinstance(environment.runner, WorkerRunner):
        return
    tally.stopped_s = tally.stopped_s or time.time()
    if _options(environment).tally:
        tally.save(Path(_options(environment).tally))
    if tally.answers and tally.stopped_s > tally.spawned_s > 0:
        figures = LoadFigures.of(tally.answers, tally.spawned_s, tally.stopped_s)
        print(
            f"With all users running, for {figures.window_s:.0f} s: {figures.audio_s_per_s:.1f} s of audio per second, "
            f"{figures.rps:.2f} requests/s, {figures.refused} refused, {figures.failures} failed"
        )
        for name, of in LoadFigures.by_format(tally.answers, tally.spawned_s, tally.stopped_s).items():
            print(
                f"  {name}: {of.answered} answered, {of.sent_bytes / 1e6:.1f} MB sent, p50 {1000 * of.p50_s:.0f} ms, "
                f"p95 {1000 * of.p95_s:.0f} ms, decoded in {1000 * of.decode_s:.1f} ms"
            )
