"""Transcribe files without a server.

    python scripts/transcribe.py samples/*.wav
    python scripts/transcribe.py recordings/ --format srt --out subtitles

Takes files and folders of any sound that the service takes. Settings are those of the service (`ASR_*`).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file: make the packages importable

import argparse
import asyncio
import json
import os
from collections.abc import Callable

from pydantic import ValidationError
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.errors import AsrError, InvalidAudio
from app.formats import to_json, to_srt, to_text, to_vtt
from app.service import load_model
from app.settings import Settings, problems
from app.transcriber import Transcriber
from app.transcript import Transcript
from scripts.common.files import find_files

SUFFIXES = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def name_transcripts(files: list[Path], suffix: str) -> dict[Path, Path]:
    """File -> its transcript: `clip.srt`, or for all `monday/clip.wav.srt` if `clip.srt` would be that of two files."""
    names = {path: Path(path.stem + suffix) for path in files}
    if len(set(names.values())) == len(names):
        return names
    folders = {path: path.parent.resolve() for path in files}
    root = os.path.commonpath(folders.values())
    return {path: folder.relative_to(root) / (path.name + suffix) for path, folder in folders.items()}


def formatter(name: str, model: str, backend: str) -> Callable[[Transcript], str]:
    """Transcript -> what is written."""
    if name == "json":
        return lambda transcript: json.dumps(to_json(transcript, model, backend, True), ensure_ascii=False) + "\n"
    return {"text": to_text, "srt": to_srt, "vtt": to_vtt}[name]


async def transcribe_all(
    transcriber: Transcriber, files: list[Path], at_once: int, done: Callable[[Path, Transcript | AsrError], None]
) -> None:
    """Transcribe `at_once` files at a time and hand each result on in the order of the files."""
    turns = asyncio.Semaphore(at_once)

    async def one(path: Path) -> Transcript | AsrError:
        async with turns:
            try:
                with path.open("rb") as file:
                    return await transcriber.transcribe(file)
            except AsrError as error:
                return error
            except OSError as error:
                return InvalidAudio(f"the file cannot be read: {error.strerror}")

    tasks = [asyncio.create_task(one(path)) for path in files]
    for path, task in zip(files, tasks, strict=True):
        done(path, await task)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument("--format", choices=tuple(SUFFIXES), default="text")
    parser.add_argument("--out", type=Path, help="folder for one file per clip (default: print)")
    arguments = parser.parse_args()
    try:
        settings = Settings()
        files = find_files(arguments.paths)
        artifact, backend, engines = load_model(settings)
    except (FileNotFoundError, ArtifactError) as error:
        sys.exit(str(error))
    except ValidationError as error:
        sys.exit("\n".join(problems(error)))
    transcriber = Transcriber.from_settings(artifact, engines, settings)
    names = name_transcripts(files, SUFFIXES[arguments.format])
    write = formatter(arguments.format, artifact.name, backend)
    failed = 0
    with tqdm(total=len(files), unit="file", file=sys.stderr, disable=None) as progress:

        def done(path: Path, result: Transcript | AsrError) -> None:
            nonlocal failed
            progress.update()
            if isinstance(result, AsrError):
                failed += 1
                tqdm.write(f"{path}: {result.message}", file=sys.stderr)
            elif arguments.out is not None:
                target = arguments.out / names[path]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(write(result), encoding="utf-8")
            else:
                label = f"{path}: " if arguments.format == "text" and len(files) > 1 else ""
                tqdm.write(label + write(result), file=sys.stdout, end="")

        asyncio.run(transcribe_all(transcriber, files, settings.workers, done))
    transcriber.close()
    if arguments.out is not None:
        print(f"{len(files) - failed} of {len(files)} transcripts in {arguments.out}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
