"""Evaluation sets: transcribe each clip, and count the errors.

References and hypotheses are normalized to the letters of the model's vocabulary (`scripts/speech/text.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from tqdm import tqdm

from app.errors import InvalidParameter
from app.families import Family
from app.recognizer import AnyRecognizer, Options
from scripts.speech.data import DataError, SpeechRows, load_speech
from scripts.speech.recognition import text_of
from scripts.speech.scoring import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate
from scripts.speech.text import TextNormalizer


class Scored(NamedTuple):
    """One clip with its normalized reference and hypothesis, and the errors."""

    name: str
    reference: str
    hypothesis: str
    errors: ClipErrors


@dataclass(frozen=True)
class Figures:
    """The figures of one backend on one set."""

    clips: int
    hours: float
    wer: ErrorRate
    cer: ErrorRate


def load_eval_set(
    name: str,
    limit: int | None = None,
    split: str | None = None,
    audio_column: str | None = None,
    text_column: str | None = None,
) -> SpeechRows:
    """The rows to evaluate on: of the named split, else of "test", else of the first split.

    limit: use only the first `limit` rows. Raises DataError if there are none, or if their audio does not exist.
    """
    splits = load_speech(name, split, audio_column, text_column)
    rows = splits.get("test") or next(iter(splits.values()))
    rows = rows.select(list(range(len(rows)))[:limit])
    if not len(rows):
        raise DataError(f"{name} has no clips to measure on")
    return rows


def normalizer_for(family: Family, language: str) -> TextNormalizer:
    """A normalizer to the letters that the model can output. language: ISO 639-1 code."""
    return TextNormalizer.for_tokens(tuple(family.tokens), language)


def options_for(recognizer: AnyRecognizer, language: str) -> Options:
    """Options with the language of the speech (ISO 639-1 code), if the model can be told; else the defaults."""
    options = Options(language=language)
    try:
        recognizer.check_options(options)
    except InvalidParameter:
        return Options()
    return options


def score(
    recognizer: AnyRecognizer,
    rows: SpeechRows,
    normalizer: TextNormalizer,
    workers: int,
    options: Options = Options(),
) -> list[Scored]:
    """Transcribe and score every row. workers: clips that are computed at once.

    Raises DataError for a clip that cannot be read.
    """

    def one(index: int) -> Scored:
        text = text_of(recognizer, rows.samples(index, recognizer.rate_hz), options)
        reference, hypothesis = normalizer(rows.text(index)), normalizer(text)
        return Scored(rows.name(index), reference, hypothesis, count_errors(reference, hypothesis))

    with ThreadPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(one, range(len(rows))), total=len(rows), unit="clip", disable=None))


def figures_of(errors: list[ClipErrors], rows: SpeechRows) -> Figures:
    """The figures of one backend on one set, from the errors of its clips."""
    hours = sum(rows.durations_s) / 3600
    return Figures(len(errors), round(hours, 3), word_error_rate(errors), character_error_rate(errors))
