"""The errors of one engine on one set, clip by clip, so that points can be compared on the same clips."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jiwer

from app.families import Family
from scripts.benchmarking.engines import EngineSpec
from scripts.benchmarking.process import EngineProcess
from scripts.speech.eval_sets import normalizer_for
from scripts.speech.rows import SpeechRows
from scripts.speech.scoring import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate

CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class SetFigures:
    """The figures of one engine on one set.

    deletions: share of the reference words that are missing. empty: number of clips with words and without output.
    """

    clips: int
    wer: ErrorRate
    cer: ErrorRate
    deletions: float
    empty: int


def transcribe(spec: EngineSpec, rows: SpeechRows, family: Family, language: str, callers: int) -> dict[str, Any]:
    """The errors of each clip: `clips`, a list of `ClipErrors` as mappings, with `deletions` and `empty`.

    callers: clips that are computed at once. Raises EngineFailed, and DataError for a clip that cannot be read.
    """
    normalizer = normalizer_for(family, language)
    clips: list[dict[str, Any]] = []
    with EngineProcess(spec, threads=1, callers=callers) as engine:
        engine.load()
        for start in range(0, len(rows), CLIPS_AT_ONCE):
            chunk = range(start, min(start + CLIPS_AT_ONCE, len(rows)))
            texts = engine.texts([rows.samples(index, family.rate_hz) for index in chunk])
            clips += [
                errors_of(normalizer(rows.text(index)), normalizer(text))
                for index, text in zip(chunk, texts, strict=True)
            ]
    return {"clips": clips}


def errors_of(reference: str, hypothesis: str) -> dict[str, Any]:
    """The errors of one clip. reference, hypothesis: normalized."""
    deletions = jiwer.process_words(reference, hypothesis).deletions if reference else 0
    return asdict(count_errors(reference, hypothesis)) | {
        "deletions": deletions,
        "empty": bool(reference) and not hypothesis,
    }


def clip_errors(clips: Sequence[dict[str, Any]]) -> list[ClipErrors]:
    """The errors of each clip, as the functions of `scoring` take them."""
    return [ClipErrors(**{name: clip[name] for name in ClipErrors.__dataclass_fields__}) for clip in clips]


def figures_of_clips(clips: Sequence[dict[str, Any]]) -> SetFigures:
    """The figures of a set."""
    errors = clip_errors(clips)
    words = max(1, sum(clip.words for clip in errors))
    return SetFigures(
        len(clips),
        word_error_rate(errors),
        character_error_rate(errors),
        sum(clip["deletions"] for clip in clips) / words,
        sum(clip["empty"] for clip in clips),
    )
