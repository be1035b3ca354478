"""Transcribe files without a server.

    python scripts/transcribe.py samples/*.wav
    python scripts/transcribe.py recordings/ --format srt --out subtitles
    ffmpeg -i lecture.ts -f wav - | python scripts/transcribe.py -

Takes audio files in all formats of the service, folders of them, pipes, and `-` for standard input. Files that cannot
be read are reported, and the exit status is 1; the others are transcribed. The settings are those of the service
(`ASR_*`). `--language`, `--task` and `--prompt` are for Whisper models.
"""

import argparse
import asyncio
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast, get_args

from pydantic import ValidationError
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.errors import AsrError, AudioTooLong, InvalidAudio, InvalidParameter
from app.formats import to_json, to_srt, to_text, to_vtt
from app.keywords import added, parse_keywords
from app.languages import language_code
from app.recognizer import ChannelMode, Options, Task
from app.service import load_model
from app.settings import Settings, problems
from app.subtitles import SubtitleStyle
from app.transcriber import Transcriber
from app.transcript import Transcript
from scripts.common.audio_files import find_audio_files

SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
STANDARD_INPUT = Path("-")
SPOOL_BYTES = 64 << 20
"""Data from a pipe is kept in memory up to this size, and in a temporary file beyond it."""
CHUNK_BYTES = 1 << 20
MAX_NAME_BYTES = 255
"""Maximum length of a file name on Linux and macOS."""
HASH_CHARACTERS = 12
"""Characters of the hash in a shortened file name."""

Result = Transcript | AsrError


def parse_path(text: str) -> Path:
    """Parse a path of the command line. `-` is standard input, and `./-` is a file of that name."""
    path = Path(text)
    return Path.cwd() / path if path == STANDARD_INPUT and text != str(STANDARD_INPUT) else path


def name_transcripts(files: list[Path], suffix: str) -> dict[Path, Path]:
    """File -> relative path of its transcript, such as `clip.srt`.

    If two files would get the same name, all files get names with folder and suffix, such as `monday/clip.wav.srt`.
    """
    names = {path: Path(fit_name("stdin" if path == STANDARD_INPUT else path.stem, suffix)) for path in files}
    if len({str(name).casefold() for name in names.values()}) == len(names):  # some file systems ignore case
        return names
    folders = {path: path.parent.resolve() for path in files if path != STANDARD_INPUT}
    root = os.path.commonpath(folders.values())
    return names | {path: folder.relative_to(root) / fit_name(path.name, suffix) for path, folder in folders.items()}


def fit_name(stem: str, suffix: str) -> str:
    """Stem and suffix. A stem that is too long for a file name is shortened, and gets a hash to stay unique."""
    encoded = os.fsencode(stem)
    if len(encoded) + len(suffix) <= MAX_NAME_BYTES:
        return stem + suffix
    tail = f"-{sha256(encoded).hexdigest()[:HASH_CHARACTERS]}{suffix}"
    beginning = encoded[: MAX_NAME_BYTES - len(tail)].decode("utf-8", "ignore")
    return beginning + tail


def formatter(name: str, model: str, backend: str, style: SubtitleStyle) -> Callable[[Transcript], str]:
    """The function that formats a transcript. name: a key of `SUFFIXES`. model, backend: for JSON."""
    if name == "json":
        return lambda transcript: json.dumps(to_json(transcript, model, backend, True), ensure_ascii=False) + "\n"
    subtitles = {"srt": to_srt, "vtt": to_vtt}.get(name)
    return to_text if subtitles is None else partial(subtitles, style=style)


def spool(path: Path, max_bytes: int) -> BinaryIO | AsrError:
    """Read a pipe to its end, into a seekable file, because decoders seek. Returns an error if it cannot be read.

    Called in the main thread before anything is transcribed, so that Ctrl-C interrupts the wait for data.
    """
    if path == STANDARD_INPUT and sys.stdin is None:
        return InvalidAudio("standard input is closed")
    file = cast(BinaryIO, SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115  # the caller closes it
    try:
        with sys.stdin.buffer if path == STANDARD_INPUT else path.open("rb") as pipe:
            while chunk := pipe.read(CHUNK_BYTES):
                if file.tell() + len(chunk) > max_bytes:
                    file.close()
                    return AudioTooLong(f"the pipe has more than {max_bytes} bytes (ASR_MAX_DECODED_BYTES)")
                file.write(chunk)
    except OSError as error:
        file.close()
        return unreadable(error)
    return file


def unreadable(error: OSError) -> InvalidAudio:
    """The error for a file that cannot be opened or read."""
    return InvalidAudio(f"the file cannot be read: {error.strerror}")


async def transcribe_all(
    transcriber: Transcriber,
    files: list[Path],
    spooled: dict[Path, BinaryIO | AsrError],
    options: Options,
    concurrency: int,
    on_result: Callable[[Path, Result], None],
) -> None:
    """Transcribe up to `concurrency` files at a time.

    spooled: standard input and pipes -> their data, or the error. on_result: called with each result, in the order of
    the files.
    """
    slots = asyncio.Semaphore(concurrency)

    async def one(path: Path) -> Result:
        async with slots:
            try:
                source = spooled[path] if path in spooled else path.open("rb")
                if isinstance(source, AsrError):
                    return source
                with source as file:
                    return await transcriber.transcribe(file, options=options)
            except AsrError as error:
                return error
            except OSError as error:
                return unreadable(error)
            except Exception as error:  # an unexpected error of a library must not affect the other files
                return AsrError(f"the file cannot be transcribed: {type(error).__name__}: {error}")

    tasks = [asyncio.create_task(one(path)) for path in files]
    for path, task in zip(files, tasks, strict=True):
        on_result(path, await task)


class Writer:
    """Prints transcripts, or writes each to its own file in `folder`, and reports errors.

    names: file -> relative path of its transcript. labelled: whether printed transcripts start with the file.
    """

    def __init__(
        self, write: Callable[[Transcript], str], names: dict[Path, Path], folder: Path | None, labelled: bool
    ) -> None:
        self._write = write
        self._names = names
        self._folder = folder
        self._labelled = labelled
        self.failed = 0

    def add(self, path: Path, result: Result) -> None:
        """Print or write a transcript, or report the error of a file."""
        if isinstance(result, AsrError):
            self.report(f"{path}: {result.message}")
        elif self._folder is not None:
            target = self._folder / self._names[path]
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(self._write(result), encoding="utf-8")
            except OSError as error:
                self.report(f"{path}: {target} cannot be written: {error.strerror}")
        else:
            label = f"{path}: " if self._labelled else ""
            tqdm.write(label + self._write(result), file=sys.stdout, end="")
            sys.stdout.flush()  # shows each transcript at once, and raises BrokenPipeError if nobody reads them

    def report(self, problem: str) -> None:
        """Print a problem, and count it."""
        self.failed += 1
        tqdm.write(problem, file=sys.stderr)


def run() -> int:
    """Transcribe the files of the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=parse_path, help="audio files, folders, or - for standard input")
    parser.add_argument("--format", choices=tuple(SUFFIXES), default="text")
    parser.add_argument("--out", type=Path, help="folder for the transcripts, one file each (default: print them)")
    parser.add_argument(
        "--language", type=language_code, help="ISO 639 code of the speech (default: ASR_LANGUAGE, or detected)"
    )
    parser.add_argument("--task", choices=get_args(Task), default="transcribe", help="translate: write English")
    parser.add_argument("--prompt", default="", help="text that could come before, with names as they are spelled")
    parser.add_argument(
        "--keywords",
        action="append",
        default=[],
        help="names and terms that may be said, separated by commas, as in docs/keywords.md; they add to ASR_KEYWORDS",
    )
    parser.add_argument(
        "--channels",
        choices=get_args(ChannelMode),
        help="separate: each channel by itself, as a speaker; auto: so if two channels are the sides of a call "
        "(default: ASR_CHANNELS, or auto)",
    )
    arguments = parser.parse_args()
    missing: list[FileNotFoundError] = []
    files: list[Path] = []
    for path in arguments.paths:
        files += [path] if path == STANDARD_INPUT else find_audio_files([path], missing.append)
    files = list(dict.fromkeys(files))
    for problem in missing:
        print(problem, file=sys.stderr)
    if not files:
        return 1
    try:
        settings = Settings()
        artifact, backend, lanes = load_model(settings)
    except ArtifactError as error:
        sys.exit(str(error))
    except ValidationError as error:
        sys.exit("\n".join(problems(error)))
    transcriber = Transcriber.from_settings(lanes, settings)
    options = replace(
        settings.options,
        word_times=arguments.format == "json",
        segment_times=arguments.format in ("srt", "vtt"),
        channels=arguments.channels or settings.channels,
        language=arguments.language or settings.language,
        task=arguments.task,
        prompt=arguments.prompt.strip(),
    )
    try:
        options = replace(options, keywords=added(settings.all_keywords, parse_keywords(arguments.keywords)))
        lanes.express.check_options(options)
    except InvalidParameter as error:
        sys.exit(error.message)
    names = name_transcripts(files, SUFFIXES[arguments.format])
    write = formatter(arguments.format, artifact.name, backend, settings.subtitle_style)
    writer = Writer(write, names, arguments.out, labelled=arguments.format == "text" and len(files) > 1)
    with ExitStack() as stack:
        stack.enter_context(closing(transcriber))
        spooled: dict[Path, BinaryIO | AsrError] = {}
        for path in files:
            if path == STANDARD_INPUT or not path.is_file():
                spooled[path] = spool(path, settings.max_decoded_bytes)
        progress = stack.enter_context(tqdm(total=len(files), unit="file", file=sys.stderr, disable=None))

        def on_result(path: Path, result: Result) -> None:
            progress.update()
            writer.add(path, result)

        asyncio.run(transcribe_all(transcriber, files, spooled, options, settings.workers, on_result))
    if arguments.out is not None:
        print(f"{len(files) - writer.failed} of {len(files)} transcripts in {arguments.out}", flush=True)
    return 1 if writer.failed or missing else 0


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names are bytes, and transcripts may be in any script
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        sys.exit(run())
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout when it exits
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
