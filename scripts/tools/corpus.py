"""Prepare the text of the bundled model: sentences for training, and held-out sentences.

    python scripts/tools/corpus.py --text sentences.txt --generated 12000 --held_out 600 --out data/text

Writes `train.txt` and `held_out.txt`. The sentences of the file are shuffled and split. The training text also gets
generated sentences (numbers, dates, lessons, call-centre talk, see `sentences.py`), and lines that join several
sentences, so that a model also learns clips longer than one sentence.
"""

import argparse
import sys
from pathlib import Path
from random import Random

from scripts.speech.text import TURKISH_ALPHABET, TextNormalizer
from scripts.text_generation.data_files import DataFileError
from scripts.tools.sentences import generate

MAX_JOINED_CHARACTERS = 180
"""Maximum length of a joined line: about 13 s of speech."""


def join_some(sentences: list[str], share: float, random: Random) -> list[str]:
    """Lines that join 2 to 4 random sentences. share: number of lines, relative to the number of sentences."""
    lines = [
        " ".join(random.sample(sentences, k=random.choice((2, 2, 3, 4)))) for _ in range(int(share * len(sentences)))
    ]
    return [line for line in lines if len(line) <= MAX_JOINED_CHARACTERS]


def split(sentences: list[str], generated: list[str], held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Return training lines and held-out lines. No held-out sentence is in training, even with other punctuation."""
    random = Random(seed)
    normalizer = TextNormalizer(TURKISH_ALPHABET)
    unique = sorted({normalizer(sentence): sentence for sentence in sentences}.values())
    random.shuffle(unique)
    test, train = unique[:held_out], unique[held_out:]
    excluded = {normalizer(sentence) for sentence in test}
    train += [sentence for sentence in generated if normalizer(sentence) not in excluded]
    train += join_some(train, 0.15, random)
    random.shuffle(train)
    return train, test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text file, one sentence per line")
    parser.add_argument("--generated", type=int, default=12_000, help="number of sentences from sentences.py")
    parser.add_argument("--held_out", type=int, default=600, help="number of sentences to hold out for evaluation")
    parser.add_argument("--out", type=Path, required=True, help="folder for train.txt and held_out.txt")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    sentences = [line.strip() for line in arguments.text.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        generated = generate(arguments.generated, arguments.seed)
    except DataFileError as error:
        sys.exit(str(error))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, lines in zip(
        ("train", "held_out"), split(sentences, generated, arguments.held_out, arguments.seed), strict=True
    ):
        path = arguments.out / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{len(lines)} lines: {path}")


if __name__ == "__main__":
    main()
