import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import BUNDLED_MODEL
from app.transcript import Word
from scripts.speech.clips import DataError
from scripts.speech.text import TextNormalizer
from scripts.tools.word_times import Differences, compare, describe, main, sentences_of

ROOT = Path(__file__).resolve().parents[3]


def test_words_that_both_have_are_compared() -> None:
    heard = [Word(text, start_s, start_s + 0.2, 1.0) for text, start_s in (("Bir", 0.5), ("uc", 1.1), ("dört", 2.0))]
    differences = compare("bir, iki — üç dört", [0.4, 0.8, None, 1.2, 2.1], heard, TextNormalizer())
    assert differences.starts_s == pytest.approx((0.1, -0.1))
    assert differences.words == 4


def test_a_word_without_a_true_start_is_left_out() -> None:
    heard = [Word("for", 0.5, 0.6, 1.0), Word("the", 0.6, 0.7, 1.0)]
    differences = compare("for the", [0.5, None], heard, TextNormalizer(language="en"))
    assert differences == Differences((0.0,), 1)


def test_shares_and_percentiles() -> None:
    assert describe(Differences((0.0, 0.05, -0.2, 0.25), 5)) == [
        "5", "4", "50.0%", "75.0%", "+0.025", "-0.170", "+0.220"
    ]  # fmt: skip
    assert describe(Differences((), 3)) == ["3", "0", "-", "-", "-", "-", "-"]


def test_sentences_are_lines_or_texts(tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("bir  iki\n\nüç\nbir iki\n", encoding="utf-8")
    assert sentences_of(str(lines), None) == ["bir iki", "üç"]
    assert sentences_of(str(ROOT / "samples" / "manifest.jsonl"), 1)[0].startswith("Merhaba")
    lines.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="no sentences"):
        sentences_of(str(lines), None)


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/tools/word_times.py", "--model_dir", str(BUNDLED_MODEL), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_bundled_model_times_words() -> None:
    done = run("--text", "samples/manifest.jsonl", "--voices", "tr+f3", "--limit", "2")
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.strip().splitlines()[-1].split("|")]
    assert cells[1] == "all"
    assert int(cells[3]) >= 0.8 * int(cells[2]) > 0
    assert float(cells[5].rstrip("%")) >= 90, "within 0.2 s"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.txt"):
        main(["--text", "nowhere.txt", "--model_dir", str(BUNDLED_MODEL)])
