"""Sets of speech that engines are measured on: what is heard in each clip, and how much of it is wrong.

Both the reference and the transcript are normalized by `scripts/speech/text.py` to the letters of the model's
vocabulary.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from tqdm import tqdm

from app.families import Family
from app.recognizer import AnyRecognizer
from scripts.speech.data import DataError, SpeechRows, load_speech
from scripts.speech.recognition import text_of
from scripts.speech.scoring import ClipErrors, ErrorRate, character_error_rate, count_errors, word_error_rate
from scripts.speech.text import TextNormalizer


class Scored(NamedTuple):
    """One clip with what was said and what was heard, both normalized."""

    name: str
    reference: str
    hypothesis: str
    errors: ClipErrors


@dataclass(frozen=True)
class Figures:
    """The figures of one engine on one set."""

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
    """The rows to measure on: of the split named, else of "test", else of the first; only the first `limit` of them.

    Raises DataError if there are none, or their sound cannot be read.
    """
    splits = load_speech(name, split, audio_column, text_column)
    rows = splits.get("test") or next(iter(splits.values()))
    rows = rows.select(list(range(len(rows)))[:limit])
    if not len(rows):
        raise DataError(f"{name} has no clips to measure on")
    return rows


def normalizer_for(family: Family, language: str) -> TextNormalizer:
    """Brings texts to the letters that the model can say. language: ISO 639-1 code."""
    return TextNormalizer.for_tokens(tuple(family.tokens), language)


def score(recognizer: AnyRecognizer, rows: SpeechRows, normalizer: TextNormalizer, workers: int) -> list[Scored]:
    """Transcribe and score every row, several at a time. Raises DataError for a clip that cannot be read."""

    def one(index: int) -> Scored:
        heard = text_of(recognizer, rows.samples(index, recognizer.rate_hz))
        reference, hypothesis = normalizer(rows.text(index)), normalizer(heard)
        return Scored(rows.name(index), reference, hypothesis, count_errors(reference, hypothesis))

    with ThreadPoolExecutor(workers) as pool:
        return list(tqdm(pool.map(one, range(len(rows))), total=len(rows), unit="clip", disable=None))


def figures_of(errors: list[ClipErrors], rows: SpeechRows) -> Figures:
    """The error rates of one engine on one set, with what the set holds."""
    hours = sum(rows.durations_s) / 3600
    return Figures(len(errors), round(hours, 3), word_error_rate(errors), character_error_rate(errors))
