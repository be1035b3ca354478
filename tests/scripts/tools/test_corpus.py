import sys
from pathlib import Path
from random import Random

import pytest

from scripts.speech.text import TURKISH_ALPHABET, TextNormalizer
from scripts.text_generation.data_files import DataFileError
from scripts.tools.corpus import MAX_JOINED_CHARACTERS, join_some, main, split
from scripts.tools.sentences import generate

SENTENCES = [f"{sentence[:-1]} {noun}." for sentence in generate(60, 7) for noun in ("kitap", "deniz", "masa")]
HELD_OUT = 40

normalizer = TextNormalizer(TURKISH_ALPHABET)


def other_punctuation(sentence: str) -> str:
    return sentence.replace("I", "ı").replace("İ", "i").lower().replace(" ", ", ").replace(".", " !")


def test_every_sentence_goes_to_one_side() -> None:
    train, test = split(SENTENCES, [], HELD_OUT, seed=0)
    assert len(test) == len(set(test)) == HELD_OUT
    assert set(SENTENCES) == set(test) | (set(train) & set(SENTENCES))


def test_no_held_out_sentence_is_trained_on_however_it_is_written() -> None:
    doubled = SENTENCES + [other_punctuation(sentence) for sentence in SENTENCES]
    generated = [other_punctuation(sentence) for sentence in SENTENCES] + generate(50, 9)
    train, test = split(doubled, generated, HELD_OUT, seed=3)
    held_out = {normalizer(sentence) for sentence in test}
    assert len(held_out) == HELD_OUT
    trained = {normalizer(line) for line in train}
    assert not held_out & trained
    assert not [line for line in trained if any(sentence in line for sentence in held_out)], "nor inside a longer line"
    assert set(generate(50, 9)) <= set(train)


def test_the_seed_decides_the_split() -> None:
    generated = generate(50, 9)
    assert split(SENTENCES, generated, HELD_OUT, 1) == split(SENTENCES[::-1], generated, HELD_OUT, 1)
    assert split(SENTENCES, generated, HELD_OUT, 1)[1] != split(SENTENCES, generated, HELD_OUT, 2)[1]


def test_lines_of_several_sentences() -> None:
    lines = join_some(SENTENCES, 0.5, Random(0))
    assert len(lines) > len(SENTENCES) // 4
    assert all(len(line) <= MAX_JOINED_CHARACTERS for line in lines)
    assert all(sum(sentence in line for sentence in SENTENCES) >= 2 for line in lines)


def test_command_line_writes_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "sentences.txt"
    source.write_text("\n\n".join(SENTENCES) + "\n", encoding="utf-8")
    out = tmp_path / "new" / "text"
    arguments = ["--text", str(source), "--generated", "30", "--held_out", "10", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["corpus.py", *arguments])
    main()
    train, test = split(SENTENCES, generate(30, 0), 10, 0)
    assert (out / "train.txt").read_text(encoding="utf-8").splitlines() == train
    assert (out / "held_out.txt").read_text(encoding="utf-8").splitlines() == test


def test_a_malformed_data_file_ends_the_command_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(count: int, seed: int) -> list[str]:
        raise DataFileError("food.txt:12: 'elma?' is malformed")

    source = tmp_path / "sentences.txt"
    source.write_text("Evet.\n", encoding="utf-8")
    monkeypatch.setattr("scripts.tools.corpus.generate", broken)
    monkeypatch.setattr(sys, "argv", ["corpus.py", "--text", str(source), "--out", str(tmp_path / "text")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == "food.txt:12: 'elma?' is malformed"
