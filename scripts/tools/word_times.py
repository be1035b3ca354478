"""Measure how exact a model's word times are, against the true starts of words in synthesized sentences.

    python scripts/tools/word_times.py --text sentences.txt --model_dir models/tr-small --voices tr+f3 tr+m5
    python scripts/tools/word_times.py --text english.txt --model_dir models/whisper-base --language en \
        --voices en+f3 en+m5

espeak-ng says each sentence with each voice, and reports the sample at which each word begins. The recognized words are
aligned with the spoken ones; words that are the same in both are compared, except for words that espeak-ng says as one
with the word before. `--text` is a file with a sentence a line, or speech data with texts. Needs espeak-ng
(`apt-get install espeak-ng`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import soxr
from tqdm import tqdm

from app.artifacts import ArtifactError
from app.models import find_model_folder, load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Samples, compute_windows, decode_windows
from app.runtimes.registry import BACKENDS, ONNX_INT8
from app.transcript import Word
from scripts.common.report import table
from scripts.speech.clips import DataError
from scripts.speech.espeak import Espeak, EspeakError, Spoken
from scripts.speech.eval_sets import load_eval_set, normalizer_for, options_for
from scripts.speech.text import TextNormalizer

SILENCE_S = 0.5
"""Silence before and after each sentence."""
WITHIN_S = (0.1, 0.2)


@dataclass(frozen=True)
class Differences:
    """Recognized minus true starts of words, in seconds.

    starts_s: of the words that were recognized. words: all that were spoken
    and have a true start.
    """

    starts_s: tuple[float, ...]
    words: int


def sentences_of(text: str, limit: int | None) -> list[str]:
    """The sentences of a text file, or the texts of speech data. Raises DataError if there are none."""
    if Path(text).suffix == ".txt":
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    else:
        lines = load_eval_set(text).texts()
    sentences = list(dict.fromkeys(filter(None, (" ".join(line.split()) for line in lines))))[:limit]
    if not sentences:
        raise DataError(f"{text} has no sentences")
    return sentences


def padded(spoken: Spoken, rate_hz: int) -> Samples:
    """The sentence at `rate_hz` between two times `SILENCE_S`, shape (samples,), float32."""
    silence = np.zeros(round(SILENCE_S * rate_hz), dtype=np.float32)
    samples = soxr.resample(spoken.samples, spoken.rate_hz, rate_hz).clip(-1, 1)
    return np.concatenate([silence, samples.astype(np.float32), silence])


def timed_words(recognizer: AnyRecognizer, samples: Samples, options: Options) -> list[Word]:
    """The recognized words with their times."""
    windows = recognizer.windows(samples, options)
    segments = decode_windows(recognizer, windows, compute_windows(recognizer, windows, options), options)
    return [word for segment in segments for word in segment.words]


def compare(
    text: str, starts_s: Sequence[float | None], words: Sequence[Word], normalizer: TextNormalizer
) -> Differences:
    """Compare the starts of the words that are in the text and were recognized.

    starts_s: true start of each word of the text, which spaces separate, in seconds; None if it is not known.
    """
    spoken = [normalizer(word) for word in text.split()]
    heard = [normalizer(word.text) for word in words]
    blocks = SequenceMatcher(None, spoken, heard, autojunk=False).get_matching_blocks()
    pairs = [(block.a + place, block.b + place) for block in blocks for place in range(block.size)]
    found = [
        words[theirs].start_s - true_s
        for ours, theirs in pairs
        if spoken[ours] and (true_s := starts_s[ours]) is not None
    ]
    timed = [word for word, true_s in zip(spoken, starts_s, strict=True) if word and true_s is not None]
    return Differences(tuple(found), len(timed))


def describe(differences: Differences) -> list[str]:
    """The cells of a row of the table."""
    starts_s = np.array(differences.starts_s)
    if not len(starts_s):
        return [str(differences.words), "0", *["-"] * (3 + len(WITHIN_S))]
    low_s, middle_s, high_s = np.percentile(starts_s, [5, 50, 95])
    shares = [f"{(np.abs(starts_s) <= limit_s).mean():.1%}" for limit_s in WITHIN_S]
    return [
        str(differences.words), str(len(starts_s)), *shares, f"{middle_s:+.3f}", f"{low_s:+.3f}", f"{high_s:+.3f}"
    ]  # fmt: skip


HEAD = ["voice", "words", "recognized", *(f"within {limit_s:g} s" for limit_s in WITHIN_S), "median, s", "5 %", "95 %"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="text file with a sentence a line, or speech data with texts")
    parser.add_argument("--model_dir", required=True, help="artifact folder; for pytorch a checkpoint folder or hub id")
    parser.add_argument("--backend", choices=tuple(BACKENDS), default=ONNX_INT8)
    parser.add_argument("--language", default="tr", help="ISO 639-1 code of the sentences")
    parser.add_argument("--voices", nargs="+", default=["tr+f3", "tr+m5"], help="voices of espeak-ng")
    parser.add_argument("--speed_wpm", type=int, default=150, help="speed of the voices, words per minute")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT sentences")
    arguments = parser.parse_args(argv)
    try:
        model = open_model(find_model_folder(arguments.model_dir, arguments.backend))
        recognizer = load_recognizer(model, arguments.backend, threads=len(os.sched_getaffinity(0)))
        options = replace(options_for(recognizer, arguments.language), word_times=True)
        recognizer.check_options(options)
        normalizer = normalizer_for(model.family, arguments.language)
        sentences, espeak, rows = sentences_of(arguments.text, arguments.limit), Espeak(), []
        every = Differences((), 0)
        for voice in arguments.voices:
            found = Differences((), 0)
            for sentence in tqdm(sentences, unit="sentence", desc=voice, disable=None):
                spoken = espeak.speak(sentence, voice, arguments.speed_wpm)
                words = timed_words(recognizer, padded(spoken, recognizer.rate_hz), options)
                starts_s = [None if start_s is None else SILENCE_S + start_s for start_s in spoken.starts_s]
                more = compare(sentence, starts_s, words, normalizer)
                found = Differences(found.starts_s + more.starts_s, found.words + more.words)
            rows.append([voice, *describe(found)])
            every = Differences(every.starts_s + found.starts_s, every.words + found.words)
    except (ArtifactError, DataError, EspeakError, OSError) as error:
        sys.exit(str(error))
    print(f"\n{model.artifact.name} on {arguments.backend}, {len(sentences)} sentences: recognized minus true starts\n")
    print(table(HEAD, [*rows, ["all", *describe(every)]]))


if __name__ == "__main__":
    main()
