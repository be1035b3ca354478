"""The clips that load tests upload, from `samples/` or a set of speech data, and their request bodies."""

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import accumulate, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from scripts.common import SAMPLES
from scripts.load_testing.encoding import FORMATS, FULL_SCALE, Pcm, encode_once

if TYPE_CHECKING:
    from scripts.speech.rows import SpeechRows

DEFAULT_MIX = "2-12"
MIX_STEP_S = 0.5
"""A mix that is a range has a clip for each half second."""
SPEECH_RATE_HZ = 16_000
"""Sample rate of the clips of a set of speech data."""
BOUNDARY = "----------dikte-load"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Clip:
    """A clip to upload. pcm: shape (samples,), int16. text: the reference text; None for a cut clip, which has none.

    format: a key of `FORMATS`.
    """

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
        """The multipart body of `POST /transcribe`, cached. Its content type is `CONTENT_TYPE`."""
        kind = FORMATS[self.format]
        disposition = f'Content-Disposition: form-data; name="file"; filename="{self.name}.{kind.suffix}"'
        head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: {kind.media_type}\r\n\r\n"
        file = encode_once(self.pcm, self.rate_hz, self.format)
        return b"".join([head.encode(), file, f"\r\n--{BOUNDARY}--\r\n".encode()])

    def encode(self) -> None:
        """Build the body now, so that encoding is not part of a latency."""
        _ = self.body


class ClipCutter:
    """Cuts clips from the concatenated samples, which repeat endlessly. Each clip starts where the last one ended."""

    def __init__(self, samples: list[Clip]) -> None:
        self._rate_hz = samples[0].rate_hz
        self._pcm: Pcm = np.concatenate([sample.pcm for sample in samples])
        self._position = 0

    def cut(self, name: str, length_s: float) -> Clip:
        """The next `length_s` seconds."""
        places = np.arange(self._position, self._position + round(length_s * self._rate_hz))
        self._position = int(places[-1] + 1) % len(self._pcm)
        return Clip(name, self._pcm.take(places, mode="wrap"), self._rate_hz)


def read_samples(folder: Path = SAMPLES) -> list[Clip]:
    """The uncut clips of `manifest.jsonl`, with their texts."""
    clips = []
    for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        pcm, rate_hz = soundfile.read(folder / row["audio"], dtype="int16")
        clips.append(Clip(Path(row["audio"]).stem, pcm, rate_hz, row["text"]))
    return clips


def lengths_of(mix: str) -> list[float]:
    """Parse clip lengths in seconds: `2-12` is every half second from 2 to 12, `2,5,10` is a list.

    Raises ValueError for anything else, and for lengths below 0.1 s.
    """
    if bounds := re.fullmatch(r"([\d.]+)-([\d.]+)", mix):
        shortest_s, longest_s = float(bounds[1]), float(bounds[2])
        lengths_s = list(np.arange(shortest_s, longest_s + MIX_STEP_S / 2, MIX_STEP_S).tolist())
    else:
        lengths_s = [float(length) for length in mix.split(",")]
    if not lengths_s or min(lengths_s) < 0.1:
        raise ValueError(f"{mix!r} is not a valid list of clip lengths, such as 2-12 or 2,5,10")
    return lengths_s


@cache
def read_speech(speech: str) -> "SpeechRows":
    """The rows of a data set. Raises DataError if it cannot be read, ValueError if packages for it are missing."""
    try:
        from scripts.speech.eval_sets import load_eval_set
    except ImportError as error:
        raise ValueError(f"speech data needs {error.name}: pip install -r requirements-train.txt") from error
    return load_eval_set(speech)


def utterance(rows: "SpeechRows", index: int) -> Clip:
    """A row as a clip without a text, at `SPEECH_RATE_HZ`. Raises DataError if it cannot be read."""
    scaled = np.rint(rows.samples(index, SPEECH_RATE_HZ) * FULL_SCALE)
    return Clip(f"row-{index}", scaled.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16), SPEECH_RATE_HZ)


def utterances(speech: str, mix: str) -> list[Clip]:
    """For each length of the mix, the whole clip of a data set whose duration is nearest. None is chosen twice.

    Raises the errors of `read_speech` and `lengths_of`, and ValueError if there are not enough clips.
    """
    rows, lengths_s = read_speech(speech), lengths_of(mix)
    if len(rows) < len(lengths_s):
        raise ValueError(f"{speech} has {len(rows)} clips; a mix of {mix} needs {len(lengths_s)}")
    left = dict(enumerate(rows.durations_s))
    chosen = []
    for length_s in lengths_s:
        index = min(left, key=lambda index: abs(left[index] - length_s))
        del left[index]
        chosen.append(utterance(rows, index))
    return chosen


def short_clips(mix: str = DEFAULT_MIX, speech: str = "") -> list[Clip]:
    """A cut clip of each length of the mix, and the uncut samples that are not longer than the longest of these.

    speech: a data set, as for scripts/evaluate.py, whose `utterances` are taken instead. Raises their errors.
    """
    if speech:
        return utterances(speech, mix)
    samples, lengths_s = read_samples(), lengths_of(mix)
    cutter = ClipCutter(samples)
    cuts = [cutter.cut(f"clip-{length_s:g}s", length_s) for length_s in lengths_s]
    return cuts + [sample for sample in samples if sample.duration_s <= max(lengths_s)]


def long_clip(length_s: float, speech: str = "") -> Clip:
    """A clip of `length_s` seconds: the samples one after the other, repeated if necessary.

    speech: a data set whose rows are taken instead. Raises the errors of `read_speech`.
    """
    return clip_cutter(speech, length_s).cut(f"long-{length_s:g}s", length_s)


def clip_cutter(speech: str = "", length_s: float = math.inf) -> ClipCutter:
    """Cuts clips from the samples, or from the rows of a data set: as many as have `length_s` seconds together.

    Raises the errors of `read_speech`.
    """
    if not speech:
        return ClipCutter(read_samples())
    rows = read_speech(speech)
    needed = bisect_left(list(accumulate(rows.durations_s)), length_s) + 1
    return ClipCutter([utterance(rows, index) for index in range(min(needed, len(rows)))])


def in_formats(clips: Sequence[Clip], formats: Sequence[str]) -> list[Clip]:
    """Each clip in each format. Neighbours in the list differ in both. Names get a suffix if the format is not WAV."""
    return [
        _in_format(clip, formats[(place + turn) % len(formats)])
        for turn in range(len(formats))
        for place, clip in enumerate(clips)
    ]


def _in_format(clip: Clip, name: str) -> Clip:
    return clip if name == clip.format else replace(clip, name=f"{clip.name}-{name}", format=name)


def in_turn(clips: list[Clip], first: int) -> Iterator[Clip]:
    """All clips in an endless cycle that starts at index `first`."""
    return islice(cycle(clips), first % len(clips), None)
