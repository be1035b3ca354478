"""Read folders in the layouts of Common Voice, LibriSpeech and Kaldi as records by split.

Sources: https://commonvoice.mozilla.org/datasets, https://www.openslr.org/12, and
https://kaldi-asr.org/doc/data_prep.html.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.files import describe_broken_file
from scripts.speech.clips import DataError
from scripts.speech.columns import DURATION, OFFSET
from scripts.speech.tables import Record, read_table

Splits = dict[str, list[Record]]

SPLIT_NAMES = {"train": "train", "test": "test"} | dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
"""Name of a folder, or its part before a hyphen -> its split. Any other folder is "train"."""
COMMON_VOICE_SPLITS = ("train", "dev", "test")
COMMON_VOICE_CLIPS = "clips"
COMMON_VOICE_DURATIONS = "clip_durations.tsv"
TRANSCRIPTS = "*.trans.txt"
TRANSCRIBED_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
"""Suffixes of the audio files of LibriSpeech: FLAC, and formats that people convert it to."""
TO_THE_END = -1.0
"""The value in Kaldi's `segments` that means the end of the file."""


def split_of(path: Path) -> str:
    """The split of a path: that of its first folder in `SPLIT_NAMES`, or "train"."""
    parts = (part.lower() for part in path.parts)
    named = (SPLIT_NAMES.get(part) or SPLIT_NAMES.get(part.partition("-")[0]) for part in parts)
    return next((split for split in named if split), "train")


def is_common_voice(folder: Path) -> bool:
    """Whether a folder has `clips/` and tables."""
    return (folder / COMMON_VOICE_CLIPS).is_dir() and any(folder.glob("*.tsv"))


def read_common_voice(folder: Path, split: str | None) -> Splits:
    """Read `train.tsv`, `dev.tsv` (as "validation") and `test.tsv`; if none of them exists, `validated.tsv`.

    split: name of another table to read instead, such as "other" for `other.tsv`.
    """
    names = [name for name in COMMON_VOICE_SPLITS if (folder / f"{name}.tsv").is_file()] or ["validated"]
    if split is not None and split not in map(split_name, names) and (folder / f"{split}.tsv").is_file():
        names = [split]
    return {split_name(name): read_clips_table(folder / f"{name}.tsv") for name in names}


def split_name(name: str) -> str:
    """The name of a split, with synonyms resolved."""
    return SPLIT_NAMES.get(name, name)


def read_clips_table(table: Path) -> list[Record]:
    """The rows of a table of Common Voice, with paths relative to its folder. Raises DataError if a path is missing."""
    durations_s = _clip_durations_s(table.with_name(COMMON_VOICE_DURATIONS))
    records = []
    for values, place in read_table(table):
        clip = values.get("path")
        if not clip:
            raise DataError(f"{place} has no path")
        found = {"path": f"{COMMON_VOICE_CLIPS}/{clip}", DURATION: durations_s.get(clip)}
        records.append(Record(values | found, place))
    return records


def _clip_durations_s(table: Path) -> dict[str, float]:
    """Clip -> seconds, from a table in newer releases. Without it, opening 100,000 MP3 files takes minutes."""
    if not table.is_file():
        return {}
    try:
        return {row["clip"]: float(row["duration[ms]"]) / 1000 for row, _ in read_table(table)}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{table} is not a table of clips and their durations in milliseconds") from error


def read_librispeech(folder: Path, transcripts: list[Path]) -> Splits:
    """Read `*.trans.txt`. Each line is the name of an audio file in the same folder, without suffix, and its text."""
    splits: Splits = {}
    for transcript in transcripts:
        split = _split_in(folder, transcript)
        for place, (name, text) in _lines(transcript):
            splits.setdefault(split, []).append(
                Record({"audio": _beside(folder, transcript, name, place), "text": text}, place)
            )
    return splits


def _beside(folder: Path, transcript: Path, name: str, place: str) -> str:
    for suffix in TRANSCRIBED_SUFFIXES:
        path = transcript.with_name(f"{name}{suffix}")
        if path.is_file():
            return str(path.relative_to(folder))
    raise DataError(f"{place} names {name}, which does not exist ({', '.join(TRANSCRIBED_SUFFIXES)})")


def read_kaldi(folder: Path, lists: list[Path], *, with_text: bool) -> Splits:
    """Read `wav.scp`, which lists the files, `segments`, which is optional, and `text`, which has the transcripts."""
    splits: Splits = {}
    for wav_scp in lists:
        splits.setdefault(_split_in(folder, wav_scp), []).extend(_kaldi_rows(folder, wav_scp, with_text))
    return splits


def _kaldi_rows(folder: Path, wav_scp: Path, with_text: bool) -> Iterator[Record]:
    files = {name: _kaldi_path(folder, wav_scp, path, place) for place, (name, path) in _lines(wav_scp)}
    rows: dict[str, dict[str, Any]] = {name: {"audio": path} for name, path in files.items()}
    segments = wav_scp.with_name("segments")
    if segments.is_file():
        rows = {name: _kaldi_segment(files, line, place) for place, (name, line) in _lines(segments)}
    texts = wav_scp.with_name("text")
    if not with_text:
        yield from (Record(row, f"{name} of {wav_scp}") for name, row in rows.items())
        return
    if not texts.is_file():
        raise DataError(f"there is no {texts.name} in the folder of {wav_scp}")
    for place, (name, text) in _lines(texts):
        if name not in rows:
            source = segments if segments.is_file() else wav_scp
            raise DataError(f"{place} is the text of {name}, which is not in {source}")
        yield Record(rows[name] | {"text": text}, place)


def _kaldi_path(folder: Path, wav_scp: Path, path: str, place: str) -> str:
    """Resolve a path in `wav.scp`, which is relative to its folder or to the current folder, to one in `folder`."""
    if path.endswith("|"):
        raise DataError(
            f"{place} is a command, and commands are not run: write its output to files, and list their paths"
        )
    beside = wav_scp.parent / path
    if not beside.is_file():
        return str(Path(path).resolve())
    return str(beside.relative_to(folder)) if beside.is_relative_to(folder) else str(beside)


def _kaldi_segment(files: dict[str, str], line: str, place: str) -> dict[str, Any]:
    """Parse a line of `segments`, without its name: the recording, and the start and end in seconds."""
    fields = line.split()
    try:
        recording, start_s, end_s = fields[0], float(fields[1]), float(fields[2])
    except (IndexError, ValueError) as error:
        raise DataError(f"{place} must have a name, a recording, and start and end in seconds") from error
    if recording not in files:
        raise DataError(f"{place} is a segment of {recording}, which is not in wav.scp")
    duration_s = None if end_s == TO_THE_END else end_s - start_s
    return {"audio": files[recording], OFFSET: start_s, DURATION: duration_s}


def _split_in(folder: Path, path: Path) -> str:
    """The split of a file in a folder, from its subfolders or the name of `folder`."""
    return split_of(Path(folder.resolve().name) / path.parent.relative_to(folder))


def _lines(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """For each line: its location, and its first word and the rest. Raises DataError if the file cannot be read."""
    if broken := describe_broken_file(path):
        raise DataError(broken)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    name, _, rest = line.strip().replace("\t", " ").partition(" ")
                    yield f"line {number} of {path}", (name, rest.strip())
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error
