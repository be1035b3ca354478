"""The clips that load tests upload, cut from `samples/`, and how one is put into a request."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from scripts.common import SAMPLES
from scripts.load_testing.encoding import FORMATS, Pcm, encode_once

DEFAULT_MIX = "2-12"
MIX_STEP_S = 0.5
"""A mix that is given as a range has a clip for each half second."""
BOUNDARY = "----------dikte-load"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Clip:
    """A file to upload, in one of `FORMATS`. text: what is said in it; None where it was cut, so that nobody knows."""

    name: str
    pcm: Pcm
    rate_hz: int
    text: str | None = None
    format: str = "wav"

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / self.rate_hz

    @cached_property
    def body(self) -> bytes:
        """The whole multipart body of `POST /transcribe`, built once; its type is `CONTENT_TYPE`."""
        kind = FORMATS[self.format]
        disposition = f'Content-Disposition: form-data; name="file"; filename="{self.name}.{kind.suffix}"'
        head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: {kind.media_type}\r\n\r\n"
        file = encode_once(self.pcm, self.rate_hz, self.format)
        return b"".join([head.encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()])

    def encode(self) -> None:
        """Build the body now, so that no latency has that in it."""
        _ = self.body


class Tape:
    """All samples in a row, again and again: `cut` takes the next piece, so that every clip says something else."""

    def __init__(self, samples: list[Clip]) -> None:
        self._rate_hz = samples[0].rate_hz
        self._pcm: Pcm = np.concatenate([sample.pcm for sample in samples])
        self._position = 0

    def cut(self, name: str, length_s: float) -> Clip:
        """A clip of `length_s` seconds that begins where the one before ended."""
        places = np.arange(self._position, self._position + round(length_s * self._rate_hz))
        self._position = int(places[-1] + 1) % len(self._pcm)
        return Clip(name, self._pcm.take(places, mode="wrap"), self._rate_hz)


def read_samples(folder: Path = SAMPLES) -> list[Clip]:
    """The clips of `manifest.jsonl`, whole and with their texts."""
    clips = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        pcm, rate_hz = soundfile.read(folder / row["audio"], dtype="int16")
        clips.append(Clip(Path(row["audio"]).stem, pcm, rate_hz, row["text"]))
    return clips


def lengths_of(mix: str) -> list[float]:
    """Clip lengths in seconds: `2-12` is every half second from 2 to 12, `2,5,10` are just these. Raises ValueError."""
    if bounds := re.fullmatch(r"([\d.]+)-([\d.]+)", mix):
        shortest_s, longest_s = float(bounds[1]), float(bounds[2])
        lengths_s = list(np.arange(shortest_s, longest_s + MIX_STEP_S / 2, MIX_STEP_S).tolist())
    else:
        lengths_s = [float(length) for length in mix.split(",")]
    if not lengths_s or min(lengths_s) < 0.1:
        raise ValueError(f"clips cannot be {mix!r} seconds long: give 2-12 or 2,5,10")
    return lengths_s


def short_clips(mix: str = DEFAULT_MIX, folder: Path = SAMPLES) -> list[Clip]:
    """A clip of each length of the mix, cut from the samples, and those samples whole that are no longer than these."""
    samples, lengths_s = read_samples(folder), lengths_of(mix)
    tape = Tape(samples)
    cuts = [tape.cut(f"clip-{length_s:g}s", length_s) for length_s in lengths_s]
    return cuts + [sample for sample in samples if sample.duration_s <= max(lengths_s)]


def long_clip(length_s: float, folder: Path = SAMPLES) -> Clip:
    """The samples one after the other until `length_s` is full."""
    return Tape(read_samples(folder)).cut(f"long-{length_s:g}s", length_s)


def in_formats(clips: Sequence[Clip], formats: Sequence[str]) -> list[Clip]:
    """Each clip in each format, with a name of its own where that is not WAV; neighbours differ in both."""
    return [
        _in_format(clip, formats[(place + turn) % len(formats)])
        for turn in range(len(formats))
        for place, clip in enumerate(clips)
    ]


def _in_format(clip: Clip, name: str) -> Clip:
    return clip if name == clip.format else replace(clip, name=f"{clip.name}-{name}", format=name)


def in_turn(clips: list[Clip], first: int) -> Iterator[Clip]:
    """All clips again and again, for ever, beginning with number `first`: every user gets the same mix."""
    return islice(cycle(clips), first % len(clips), None)
