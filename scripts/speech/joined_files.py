"""Long files made of clips, whose errors are still counted clip by clip.

A handful of long files is too few for an interval. So the errors in a file are assigned to the clips that it was made
of, by the alignment of the whole texts, and the bootstrap draws clips.
"""

import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import jiwer
import numpy as np

from scripts.speech.clips import DataError, Samples
from scripts.speech.rows import SpeechRows
from scripts.speech.scoring import ClipErrors

LONGEST_REPEAT_WORDS = 8
"""Longest sequence of words whose repetition is counted."""


@dataclass(frozen=True)
class Joined:
    """A long file. samples: shape (samples,), float32. clips: the rows that it consists of, in order."""

    samples: Samples
    clips: tuple[int, ...]


@dataclass(frozen=True)
class EditCounts:
    """Word errors of one clip within its file. words: of the reference."""

    substitutions: int
    deletions: int
    insertions: int
    words: int

    @property
    def clip_errors(self) -> ClipErrors:
        """The word errors alone, for the bootstrap; without characters."""
        return ClipErrors(self.substitutions + self.deletions + self.insertions, self.words, 0, 0)


def join_clips(
    rows: SpeechRows, order: Sequence[int], length_s: float, pause_s: float, rate_hz: int
) -> Iterator[Joined]:
    """Yield files of at least `length_s` seconds: whole clips in this order, with digital silence after each.

    A last file that would be shorter is left out. Raises DataError for a clip that cannot be read.
    """
    pause = np.zeros(round(pause_s * rate_hz), dtype=np.float32)
    parts: list[Samples] = []
    clips: list[int] = []
    samples = 0
    for index in order:
        clip = rows.samples(index, rate_hz)
        parts += [clip, pause]
        clips.append(index)
        samples += len(clip) + len(pause)
        if samples >= length_s * rate_hz:
            yield Joined(np.concatenate(parts), tuple(clips))
            parts, clips, samples = [], [], 0


def fastest_rows(rows: SpeechRows, count: int) -> list[int]:
    """The indices of the rows with the most words per second, in the order of the rows."""
    speeds = [len(text.split()) / duration_s for text, duration_s in zip(rows.texts(), rows.durations_s, strict=True)]
    return sorted(sorted(range(len(rows)), key=lambda index: -speeds[index])[:count])


def faster(samples: Samples, tempo: float, rate_hz: int) -> Samples:
    """The samples `tempo` times as fast, at the same pitch: shape (samples,), float32.

    Raises DataError if sox is not installed or fails.
    """
    raw = ["-t", "raw", "-r", str(rate_hz), "-e", "floating-point", "-b", "32", "-c", "1", "-"]
    try:
        done = subprocess.run(
            ["sox", *raw, *raw, "tempo", "-s", str(tempo)], input=samples.tobytes(), capture_output=True, check=True
        )
    except FileNotFoundError as error:
        raise DataError("sox is not installed: apt-get install sox") from error
    except subprocess.CalledProcessError as error:
        raise DataError(f"sox fails: {error.stderr.decode(errors='replace').strip()}") from error
    return np.frombuffer(done.stdout, dtype=np.float32)


def edits_by_clip(references: Sequence[str], hypothesis: str) -> list[EditCounts]:
    """The edits of each clip of a file.

    references: normalized text of each clip, in order. hypothesis: normalized text of the whole file. An insertion
    belongs to the clip with the word before which it stands, the last ones to the last clip.
    """
    lengths = [len(reference.split()) for reference in references]
    ends = list(accumulate(lengths))
    counts = {kind: [0] * len(references) for kind in ("substitute", "delete", "insert")}
    total = ends[-1] if ends else 0
    if references and not total:
        counts["insert"][-1] = len(hypothesis.split())
    if total:
        for chunk in jiwer.process_words(" ".join(filter(None, references)), hypothesis).alignments[0]:
            if chunk.type == "insert":
                clip = bisect_right(ends, min(chunk.ref_start_idx, total - 1))
                counts["insert"][clip] += chunk.hyp_end_idx - chunk.hyp_start_idx
            elif chunk.type != "equal":
                for word in range(chunk.ref_start_idx, chunk.ref_end_idx):
                    counts[chunk.type][bisect_right(ends, word)] += 1
    return [EditCounts(*edits) for edits in zip(*counts.values(), lengths, strict=True)]


def longest_gap_s(spans: Sequence[tuple[float, float]], duration_s: float) -> float:
    """The longest part of a file without text, in seconds.

    spans: start and end of each word or segment, in seconds, in order of their starts.
    """
    gap_s = reached_s = 0.0
    for start_s, end_s in spans:
        gap_s = max(gap_s, start_s - reached_s)
        reached_s = max(reached_s, end_s)
    return max(gap_s, duration_s - reached_s)


def most_repeats(words: Sequence[str]) -> int:
    """How often the most repeated sequence of up to `LONGEST_REPEAT_WORDS` words stands in a row; 0 without words."""
    most = min(1, len(words))
    for period in range(1, LONGEST_REPEAT_WORDS + 1):
        same = 0
        for word, later in zip(words, words[period:], strict=False):
            same = same + 1 if word == later else 0
            most = max(most, 1 + same // period)
    return most
