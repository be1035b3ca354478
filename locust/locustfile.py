"""Load for a speech-to-text service: users who upload clips and check the text that comes back.

    locust -f locust/locustfile.py --host http://localhost:8000
    locust -f locust/locustfile.py --host http://localhost:8000 --headless -u 10 -r 2 -t 60s
    DIKTE_API_KEY=... locust -f locust/locustfile.py --host https://example.org/path    # a service that wants a key

`ShortClips` upload clips of mixed lengths (`--clips_s`), `--long_users` of the users a long file (`--long_s`), each
clip in each of `--formats`. When the test starts each file is transcribed once; every later answer has to be the same
text. A refusal (429) is no failure: it stands in a row of its own, and the user waits as long as `Retry-After` says.
Works with `--master` and `--worker`. `make load` runs this and writes a report.
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

logger = logging.getLogger("dikte.load")
REFUSED = "refused (429)"
CLIPS_BETWEEN_USERS = 7
"""Users begin at different clips, so that they do not all send the same one at the same time."""
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
        """Begin at a clip of its own."""
        if not references.texts:
            raise StopUser()  # the service could not say what is right; the reason is logged
        self.client.base_url = (self.client.base_url or "").rstrip("/")
        self._turns: Iterator[Clip] = in_turn(self.clips, CLIPS_BETWEEN_USERS * next(user_numbers))

    def wait_time(self) -> float:
        """Seconds between an answer and the next upload."""
        return float(_options(self.environment).pause_s)

    @task
    def upload(self) -> None:
        """Upload a clip, and count what comes of it."""
        answer = self._post(next(self._turns))
        tally.answers.append(answer)
        if answer.retry_after_s is not None:
            time.sleep(answer.retry_after_s)  # of this user alone: Locust has replaced it by gevent's

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
    """Clips of mixed lengths, as dictation and voice messages are."""

    weight = 1
    kind = "short"


class LongFile(Uploader):
    """A long recording; `--long_users` of them."""

    fixed_count = 1
    kind = "long"


def _options(environment: Environment) -> argparse.Namespace:
    """The command line, or what the web page made of it."""
    return environment.parsed_options or argparse.Namespace()


@events.init_command_line_parser.add_listener
def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this file, on the command line and in the web page."""
    group = parser.add_argument_group("Speech to text")
    group.add_argument("--clips_s", default=DEFAULT_MIX, help="lengths of short clips, seconds: 2-12 or 2,5,10")
    group.add_argument("--long_users", type=int, default=1, help="users who upload a long file (read at the start)")
    group.add_argument("--long_s", type=float, default=120.0, help="length of the long file, seconds")
    group.add_argument(
        "--formats", default=DEFAULT_FORMATS, help=f"what clips are sent as, in equal shares: of {','.join(FORMATS)}"
    )
    group.add_argument("--pause_s", type=float, default=0.0, help="seconds between an answer and the next upload")
    group.add_argument(
        "--references", default="", help="file of the texts that are right (default: asked for when the test starts)"
    )
    group.add_argument("--tally", default="", help="file to write all answers to, as JSON")


@events.init.add_listener
def count_long_users(environment: Environment, **_: Any) -> None:
    """Give `LongFile` the users that it is to have."""
    LongFile.fixed_count = _options(environment).long_users
    if not LongFile.fixed_count and LongFile in environment.user_classes:
        environment.user_classes.remove(LongFile)


@events.init.add_listener
def encode_clips(environment: Environment, **_: Any) -> None:
    """Encode the clips before the time of the test runs; the web page may ask for others later."""
    options = _options(environment)
    if not isinstance(environment.runner, MasterRunner):
        with suppress(ValueError):  # said when the test starts
            clips_of(options.clips_s, options.formats)
            if options.long_users:
                long_clips_of(options.long_s, options.formats)


@cache
def clips_of(lengths_s: str, formats: str) -> list[Clip]:
    """The short clips, encoded. Raises ValueError for a mix without sense."""
    return _encoded(in_formats(short_clips(lengths_s), formats_of(formats)))


@cache
def long_clips_of(length_s: float, formats: str) -> list[Clip]:
    """The long clip in all formats, encoded. Raises ValueError for a mix without sense."""
    return _encoded(in_formats([long_clip(length_s)], formats_of(formats)))


def _encoded(clips: list[Clip]) -> list[Clip]:
    for clip in clips:
        clip.encode()
    return clips


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """Cut the clips, and ask for their texts."""
    global references
    options = _options(environment)
    tally.answers.clear()
    if isinstance(environment.runner, MasterRunner):
        return
    try:
        ShortClips.clips = clips_of(options.clips_s, options.formats)
        is_long = LongFile in environment.user_classes
        LongFile.clips = long_clips_of(options.long_s, options.formats) if is_long else []
        Uploader.headers = upload_headers()
        if options.references:
            references = References.load(Path(options.references))
        else:
            references = References.ask(environment.host or "", [*ShortClips.clips, *LongFile.clips])
    except (LoadError, ValueError) as error:
        references = References("", {})
        environment.process_exit_code = 1
        logger.error("%s", error)


@events.spawning_complete.add_listener
def note_spawned(**_: Any) -> None:
    """From now on the load is what was asked for."""
    tally.spawned_s = time.time()


@events.test_stopping.add_listener
def note_stopped(**_: Any) -> None:
    """Up to now the load was what was asked for."""
    tally.stopped_s = time.time()


@events.report_to_master.add_listener
def report_answers(data: dict[str, Any], **_: Any) -> None:
    """A worker's new answers travel with its statistics."""
    data[ANSWERS] = [astuple(answer) for answer in tally.answers]
    tally.answers.clear()


@events.worker_report.add_listener
def take_answers(data: dict[str, Any], **_: Any) -> None:
    """The master has all."""
    tally.answers += [Answer(*row) for row in data.get(ANSWERS, ())]


@events.quitting.add_listener
def sum_up(environment: Environment, **_: Any) -> None:
    """Print what the statistics of Locust do not have, and write the answers to `--tally`."""
    if isinstance(environment.runner, WorkerRunner):
        return
    tally.stopped_s = tally.stopped_s or time.time()
    if _options(environment).tally:
        tally.save(Path(_options(environment).tally))
    if tally.answers and tally.stopped_s > tally.spawned_s > 0:
        figures = LoadFigures.of(tally.answers, tally.spawned_s, tally.stopped_s)
        print(
            f"With all users there, for {figures.window_s:.0f} s: {figures.audio_s_per_s:.1f} s of sound per second, "
            f"{figures.rps:.2f} requests/s, {figures.refused} refused, {figures.failures} failed"
        )
        for name, of in LoadFigures.by_format(tally.answers, tally.spawned_s, tally.stopped_s).items():
            print(
                f"  {name}: {of.answered} answered, {of.sent_bytes / 1e6:.1f} MB sent, p50 {1000 * of.p50_s:.0f} ms, "
                f"p95 {1000 * of.p95_s:.0f} ms, decoded in {1000 * of.decode_s:.1f} ms"
            )
