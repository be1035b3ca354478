import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.text_generation.data_files import DATA
from scripts.text_generation.templates import read_text_data, text_data
from scripts.tools.sentences import MAX_WORDS, generate, main

ROOT = Path(__file__).resolve().parents[3]
LETTERS = set("abcçdefgğhıijklmnoöprsştuüvyz ")
GOLDEN = Path(__file__).with_name("sentences_seed_1.txt")
"""The first sentences of seed 1, which change with every word and template. To update the file after such a change:

python scripts/tools/sentences.py --count 60 --seed 1 --out tests/scripts/tools/sentences_seed_1.txt
"""
GOLDEN_SHA256 = "1d12f306c2870a9c3bf0f7c19cc9ace87cf4d5c64a4d863c2049d1fd5aa1f0b4"
"""SHA-256 of the first 20,000 sentences of seed 1, joined by line feeds, in UTF-8."""


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return generate(20_000, 1)


def _plain(sentence: str) -> str:
    lowered = sentence.replace("I", "ı").replace("İ", "i").lower()
    return re.sub(r"[.,?!:']", "", lowered)


def test_sentences_are_distinct_and_of_the_requested_number(sentences: list[str]) -> None:
    assert len(sentences) == len(set(sentences)) == 20_000


def test_the_seed_decides_the_sentences() -> None:
    assert generate(300, 5) == generate(300, 5)
    assert generate(300, 5) != generate(300, 6)


def test_the_output_of_a_seed_stays_the_same(sentences: list[str]) -> None:
    golden = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert sentences[: len(golden)] == golden
    assert hashlib.sha256("\n".join(sentences).encode()).hexdigest() == GOLDEN_SHA256


def test_only_turkish_letters_are_left_to_learn(sentences: list[str]) -> None:
    odd = {sentence for sentence in sentences if not set(_plain(sentence)) <= LETTERS}
    assert odd == set()


def test_every_letter_is_used_often(sentences: list[str]) -> None:
    text = "".join(map(_plain, sentences))
    assert {letter for letter in LETTERS if text.count(letter) < 500} == set()


def test_sentences_are_short_and_closed(sentences: list[str]) -> None:
    assert all(1 <= len(sentence.split()) <= MAX_WORDS for sentence in sentences)
    assert all(sentence[0].isupper() and sentence[-1] in ".?!" for sentence in sentences)


def test_vocabulary_is_wide(sentences: list[str]) -> None:
    assert len({form for sentence in sentences for form in _plain(sentence).split()}) > 15_000
    lexicon = text_data().lexicon
    pools = [*lexicon.nouns.values(), *lexicon.names.values(), *lexicon.verbs.values(), *lexicon.adjectives.values()]
    assert len({word.base for pool in pools for word in pool}) > 1_500


def test_too_many_sentences_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.tools.sentences._Generator.sentence", lambda _: "Evet.")
    with pytest.raises(ValueError, match="do not give 2 distinct"):
        generate(2, 1)


def test_command_line_writes_the_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "text.txt"
    command = [sys.executable, "scripts/tools/sentences.py", "--count", "50", "--seed", "3", "--out", str(out)]
    result = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert out.read_text(encoding="utf-8").splitlines() == generate(50, 3)
    assert str(out) in result.stdout


def test_a_malformed_data_file_ends_the_command_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "nouns" / "day.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("cuma\n", "cuma?\n"), encoding="utf-8")
    monkeypatch.setattr("scripts.tools.sentences.text_data", lambda: read_text_data(tmp_path))
    monkeypatch.setattr(sys, "argv", ["sentences.py", "--out", str(tmp_path / "text.txt")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == f"{path}:6: 'cuma?' has '?', which is not a lower-case Turkish letter"
