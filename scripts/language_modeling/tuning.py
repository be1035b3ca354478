"""Finds the weights of a language model with which a CTC model makes the fewest errors on a set of speech."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from tqdm import tqdm

from app.families.ctc.beam_search import BeamWordDecoder
from app.families.ctc.decoding import Emissions, Vocabulary
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.scorer import Scorer
from app.recognizer import compute_windows
from app.transcript import joined
from scripts.language_modeling.making import Weights
from scripts.speech.data import SpeechRows
from scripts.speech.scoring import count_errors
from scripts.speech.text import TextNormalizer

ALPHA_STEPS, BETA_STEPS = (0.2, 0.1), (1.0, 0.5)
"""Steps of alpha and beta, tried in turn."""


@dataclass(frozen=True)
class TuningSet:
    """Emissions of clips, each of shape (frames, vocabulary), and their normalized texts."""

    emissions: Sequence[Emissions]
    texts: Sequence[str]


def compute_set(recognizer: CtcRecognizer, rows: SpeechRows, normalizer: TextNormalizer, workers: int) -> TuningSet:
    """Compute the emissions of all rows once. workers: clips that are computed at once."""

    def one(index: int) -> Emissions:
        windows = recognizer.windows(rows.samples(index, recognizer.rate_hz))
        return recognizer.stitch(windows, compute_windows(recognizer, windows))

    with ThreadPoolExecutor(workers) as pool:
        computed = pool.map(one, range(len(rows)))
        emissions = list(tqdm(computed, total=len(rows), unit="clip", desc="emissions", disable=None))
    return TuningSet(emissions, [normalizer(rows.text(index)) for index in range(len(rows))])


def word_errors(
    tuning_set: TuningSet, vocabulary: Vocabulary, scorer: Scorer, normalizer: TextNormalizer, width: int
) -> int:
    """Wrong words of the beam search on the set. width: hypotheses of the beam."""
    errors = 0
    for emissions, text in zip(tuning_set.emissions, tuning_set.texts, strict=True):
        decoder = BeamWordDecoder(vocabulary, 1.0, scorer, width)
        words = decoder.add(emissions) + decoder.finish()
        errors += count_errors(text, normalizer(joined(tuple(words)))).word_errors
    return errors


def tune(errors_of: Callable[[Weights], int], start: Weights) -> Iterator[tuple[Weights, int]]:
    """Go from the start to better neighbours, with smaller and smaller steps. Yields all that was tried."""
    tried = {start: errors_of(start)}
    yield start, tried[start]
    best = start
    for alpha_step, beta_step in zip(ALPHA_STEPS, BETA_STEPS, strict=True):
        improved = True
        while improved:
            improved = False
            for neighbour in (
                replace(best, alpha=round(best.alpha + alpha_step, 6)),
                replace(best, alpha=round(best.alpha - alpha_step, 6)),
                replace(best, beta=round(best.beta + beta_step, 6)),
                replace(best, beta=round(best.beta - beta_step, 6)),
            ):
                if neighbour.alpha < 0 or neighbour in tried:
                    continue
                tried[neighbour] = errors_of(neighbour)
                yield neighbour, tried[neighbour]
                if tried[neighbour] < tried[best]:
                    best, improved = neighbour, True
