"""Measure how well names are recognized with and without keywords, in sentences that espeak-ng speaks.

    python scripts/tools/keywords_report.py
    python scripts/tools/keywords_report.py --names scripts/tools/keyword_sets/names_development.txt --voices training
    python scripts/tools/keywords_report.py --model_dir models/mine --other_text sentences.txt --boosts 0.5 1 2

Each sentence is a carrier with a name, with or without a case ending. Reports, for each boost: the recall of the names,
that of the names which the model misses in most sentences without keywords, false alarms for 1,000 other words, and the
error rate of the other words. `--other_text` has sentences without any of
the names (200 of them): the keywords are distractors there. `--speed` measures the time for 10 s of speech
with 10, 100 and 500 keywords. Writes `keywords_report.md` to `--out`. Needs espeak-ng.
"""

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

import jiwer
import numpy as np
import soundfile
from tqdm import tqdm

from app.keywords import parse_keywords
from app.models import load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Samples, Window, compute_windows, decode_windows
from app.settings import BUNDLED_MODEL
from app.transcript import joined
from scripts.common.arguments import count, positive
from scripts.common.command import ending_cleanly
from scripts.common.machine import processor
from scripts.common.report import command_line, now, table
from scripts.speech.eval_sets import normalizer_for
from scripts.speech.text import TextNormalizer
from scripts.text_generation.inflection_tr import attach, endings, parse_word
from scripts.text_generation.lexicon import Lexicon
from scripts.text_generation.templates import text_data
from scripts.tools.synthesize import SOUNDS, choose_voices, plan, synthesize

SETS = Path(__file__).parent / "keyword_sets"
SLOT = re.compile(r"\{(\w*)\}")
REPORT_NAME = "keywords_report.md"
OTHER_SENTENCES = 200
NUMBERS_OF_KEYWORDS = (10, 100, 500)
TIMED_S, RUNS = 10.0, 7


@dataclass(frozen=True)
class Sentence:
    """A sentence, and the name in it; empty if there is none."""

    text: str
    name: str


@dataclass(frozen=True)
class Clip:
    """A sentence as the model heard it: its windows and their outputs."""

    sentence: Sentence
    windows: Sequence[Window]
    outputs: Sequence[Any]


@dataclass
class Counts:
    """What was counted over all clips.

    said, found: how often each name was. others: words that belong to no name; wrong: errors in them. alarms: keywords
    that nobody said.
    """

    said: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    others: int = 0
    wrong: int = 0
    alarms: int = 0

    def missed(self) -> list[str]:
        """The names that were found in less than half of their sentences."""
        return [name for name, said in self.said.items() if self.found[name] < said / 2]

    def recall(self, names: Iterable[str]) -> str:
        """The share of sentences with one of the names in which it was found."""
        chosen = [name for name in names if name in self.said]
        said = sum(self.said[name] for name in chosen)
        return f"{sum(self.found[name] for name in chosen) / said:.3f} of {said}" if said else "-"

    def row(self, missed: Iterable[str]) -> list[str]:
        """Recall, that of missed names, false alarms for 1,000 other words, and error rate of the other words."""
        alarms, wrong = f"{1000 * self.alarms / self.others:.2f}", f"{self.wrong / self.others:.1%}"
        return [self.recall(self.said), self.recall(missed), alarms, wrong]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without comments and empty ones."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def inflected(name: str, case: str) -> str:
    """A name with a case ending after an apostrophe, as Turkish writes it; `case` is a key of the table, or empty."""
    if not case:
        return name
    form = attach(parse_word(f"{name}!"), endings().case[case])
    return f"{name}'{form[len(name) :]}"


def filled(carrier: str, name: str) -> str:
    """A sentence with the name in its slot, inflected as the slot says."""
    return SLOT.sub(lambda slot: inflected(name, slot[1]), carrier)


def make_sentences(names: Sequence[str], carriers: Sequence[str], number: int, seed: int) -> list[Sentence]:
    """So many sentences, in which each name is equally frequent."""
    random = Random(seed)
    order = [name for _ in range(-(-number // len(names))) for name in random.sample(names, len(names))]
    found: dict[str, Sentence] = {}
    for name in order[:number]:
        text = ""
        while not text or text in found:
            text = filled(random.choice(carriers), name)
        found[text] = Sentence(text, name)
    return list(found.values())


def hear(recognizer: AnyRecognizer, sentences: Sequence[Sentence], folder: Path, voices: str, sound: str) -> list[Clip]:
    """Synthesize sentences, and compute them."""
    utterances = plan([sentence.text for sentence in sentences], choose_voices(voices), "tr", 1, seed=0, sound=sound)
    synthesize(utterances, "tr", folder, workers=1)
    clips = []
    for sentence, utterance in zip(sentences, tqdm(utterances, unit="clip", disable=None), strict=True):
        samples, _ = soundfile.read(folder / utterance.audio, dtype="float32")
        windows = recognizer.windows(samples, Options())
        clips.append(Clip(sentence, windows, compute_windows(recognizer, windows)))
    return clips


def places(words: Sequence[str], name: Sequence[str]) -> set[int]:
    """Indices of the words that are a name, whatever its ending."""
    found: set[int] = set()
    for start in range(len(words) - len(name) + 1):
        part = words[start : start + len(name)]
        if part[:-1] == list(name[:-1]) and part[-1].startswith(name[-1]):
            found |= set(range(start, start + len(name)))
    return found


def count_clip(counts: Counts, clip: Clip, text: str, keywords: Iterable[str], normalizer: TextNormalizer) -> None:
    """Add a clip to the counts. text: what was recognized, with keywords in their spelling."""
    reference, hypothesis = normalizer(clip.sentence.text).split(), normalizer(text).split()
    name = normalizer(clip.sentence.name).split()
    named = places(reference, name) if name else set()
    if name:
        said = clip.sentence.name
        counts.said[said] = counts.said.get(said, 0) + 1
        counts.found[said] = counts.found.get(said, 0) + bool(places(hypothesis, name))
    counts.others += len(reference) - len(named)
    capitals = re.findall(r"[^\s']+", text)
    for keyword in keywords:
        parts = keyword.split()
        heard = sum(
            capitals[start : start + len(parts) - 1] == parts[:-1]
            and capitals[start + len(parts) - 1].startswith(parts[-1])
            for start in range(len(capitals) - len(parts) + 1)
        )
        spelled = normalizer(keyword).split()
        counts.alarms += max(0, heard - len(places(reference, spelled)) // len(spelled))
    if not hypothesis:
        counts.wrong += len(reference) - len(named)
        return
    for chunk in jiwer.process_words(" ".join(reference), " ".join(hypothesis)).alignments[0]:
        if chunk.type == "insert":  # beside a name it is a part of it
            counts.wrong += (
                0 if {chunk.ref_start_idx - 1, chunk.ref_start_idx} & named else chunk.hyp_end_idx - chunk.hyp_start_idx
            )
        elif chunk.type != "equal":
            counts.wrong += len(set(range(chunk.ref_start_idx, chunk.ref_end_idx)) - named)


def measure(
    recognizer: AnyRecognizer, clips: Sequence[Clip], keywords: Sequence[str], boost: float, normalizer: TextNormalizer
) -> Counts:
    """The counts of clips that are decoded with these keywords; without any, names are found in any spelling."""
    options = Options(keywords=parse_keywords(keywords), keywords_boost=boost)
    counts = Counts()
    for clip in clips:
        text = joined(decode_windows(recognizer, clip.windows, clip.outputs, options))
        count_clip(counts, clip, text, keywords, normalizer)
    return counts


def distractors(names: Sequence[str], number: int) -> list[str]:
    """Names, and others of the text generator: so many in all."""
    lexicon: Lexicon = text_data().lexicon
    others = [word.base for pool in lexicon.names.values() for word in pool]
    surnames = [word.base for word in lexicon.names["surname"]]
    pairs = [f"{first} {last}" for first in others for last in surnames if first != last]
    return list(dict.fromkeys((*names, *others, *Random(0).sample(pairs, number))))[:number]


def time_speech(recognizer: AnyRecognizer, samples: Samples, names: Sequence[str]) -> list[list[str]]:
    """Rows: keywords, and the milliseconds of decoding and of the model for 10 s of speech, medians."""
    samples = np.resize(samples, int(TIMED_S * recognizer.rate_hz))
    windows = recognizer.windows(samples, Options())
    model_s: list[float] = []
    decoding_s: dict[int, list[float]] = {number: [] for number in (0, *NUMBERS_OF_KEYWORDS)}
    for _ in range(RUNS):
        begin = perf_counter()
        outputs = compute_windows(recognizer, windows)
        model_s.append(perf_counter() - begin)
        for number, times in decoding_s.items():
            options = Options(keywords=parse_keywords(distractors(names, number) if number else []))
            recognizer.decoder(options)  # makes the trie, which is kept
            begin = perf_counter()
            decode_windows(recognizer, windows, outputs, options)
            times.append(perf_counter() - begin)
    model = f"{1000 * median(model_s):.0f}"
    return [[str(number), f"{1000 * median(times):.1f}", model] for number, times in decoding_s.items()]


def run(arguments: argparse.Namespace) -> Path:
    """Measure, and write the report. Returns its path."""
    model = open_model(arguments.model_dir)
    recognizer = load_recognizer(model, arguments.backend, threads=1)
    normalizer = normalizer_for(model.family, "tr")
    names = read_lines(arguments.names)
    sentences = make_sentences(names, read_lines(arguments.carriers), arguments.sentences, seed=0)
    sets = {"with names": hear(recognizer, sentences, arguments.data / "named", arguments.voices, arguments.sound)}
    if arguments.other_text is not None:
        others = [line for line in read_lines(arguments.other_text) if len(line.split()) > 2]
        spelled = [normalizer(name).split() for name in names]
        others = [text for text in others if not any(places(normalizer(text).split(), name) for name in spelled)]
        others = Random(0).sample(others, min(OTHER_SENTENCES, len(others)))
        plain = [Sentence(text, "") for text in others]
        sets["without names"] = hear(recognizer, plain, arguments.data / "others", arguments.voices, arguments.sound)
    rows = []
    for title, clips in sets.items():
        missed = measure(recognizer, clips, [], 1.0, normalizer).missed()
        for number in (0, len(names), *arguments.distractors):
            keywords = distractors(names, number) if number else []
            for boost in arguments.boosts if number else [1.0]:
                counts = measure(recognizer, clips, keywords, boost, normalizer)
                rows.append(
                    [title, str(number), f"{boost:g}" if number else "-", str(counts.others), *counts.row(missed)]
                )
                print(*rows[-1], flush=True)
    sections = [
        "# Keywords",
        f"Printed by `{command_line()}` on {now()}: {model.artifact.name}, {arguments.backend}, {processor()}. "
        f"{len(sentences)} sentences with {len(names)} names, voices: {arguments.voices}; sound: {arguments.sound}.",
        table(
            [
                "sentences",
                "keywords",
                "boost",
                "other words",
                "recall",
                "of missed names",
                "false alarms / 1,000",
                "WER of other words",
            ],
            rows,
        ),
    ]
    if arguments.speed:
        samples = np.concatenate([window.samples for clip in sets["with names"][:5] for window in clip.windows])
        head = ["keywords", "decoding, ms", "model, ms"]
        sections.append(
            f"10 s of speech, medians of {RUNS}:\n\n" + table(head, time_speech(recognizer, samples, names))
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    path: Path = arguments.out / REPORT_NAME
    path.write_text("\n\n".join(sections) + "\n", encoding="utf-8")
    print("\n\n".join(sections[2:]))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=Path, default=BUNDLED_MODEL, help="a CTC model")
    parser.add_argument("--backend", default="onnx_int8")
    parser.add_argument("--names", type=Path, default=SETS / "names_test.txt", help="a name a line")
    parser.add_argument("--carriers", type=Path, default=SETS / "carriers.txt", help="a sentence a line, with a {slot}")
    parser.add_argument("--sentences", type=count, default=200)
    parser.add_argument("--voices", default="held_out", help="as in synthesize.py")
    parser.add_argument("--sound", choices=tuple(SOUNDS), default="clean", help="acoustic condition or channel")
    parser.add_argument("--other_text", type=Path, help="a sentence a line, for false alarms")
    parser.add_argument("--distractors", type=count, nargs="*", default=[], help="numbers of keywords, with the names")
    parser.add_argument("--boosts", type=positive, nargs="+", default=[1.0])
    parser.add_argument("--speed", action="store_true", help="measure the time of decoding as well")
    parser.add_argument("--data", type=Path, default=Path("data/keywords"), help="folder for the clips")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the report")
    arguments = parser.parse_args()
    with ending_cleanly("keywords report", OSError):
        print(f"Report: {run(arguments)}")


if __name__ == "__main__":
    main()
