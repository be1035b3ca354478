import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.tools import augment_corpus
from scripts.tools.augment_corpus import main
from tests.checkpoints import babbling

TEXTS = ["bir", "iki", "üç", "dört", "beş", "altı"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    with (tmp_path / "manifest.jsonl").open("w", encoding="utf-8") as lines:
        for index, text in enumerate(TEXTS):
            soundfile.write(tmp_path / f"{text}.wav", babbling(1.0, index), 16_000)
            lines.write(json.dumps({"audio": f"{text}.wav", "text": text, "duration": 1.0}) + "\n")
    return tmp_path / "manifest.jsonl"


def augmented(clips: Path, out: Path, *options: str) -> list[dict[str, object]]:
    main(["--dataset_name", str(clips), "--out", str(out), "--workers", "2", *options])
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        assert soundfile.info(out / row["audio"]).duration == pytest.approx(row["duration"], abs=1e-3)
    return rows


def test_every_row_is_in_every_epoch(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_corpus, "CLIPS_OF_A_JOB", 4)
    rows = augmented(clips, tmp_path / "out", "--epochs", "2")
    assert len({row["audio"] for row in rows}) == 2 * len(TEXTS)
    spoken = [row["text"] for row in rows if row["text"]]  # a clip may become noise, without a text
    assert len(spoken) >= 2 * len(TEXTS) - 3
    assert set(spoken) <= set(TEXTS)


def test_a_clip_is_changed_and_differently_in_each_epoch(clips: Path, tmp_path: Path) -> None:
    rows = augmented(clips, tmp_path / "out", "--epochs", "2")
    first, second = ([row for row in rows if row["text"] == "beş"][epoch] for epoch in (0, 1))
    original = soundfile.read(clips.parent / "beş.wav")[0]
    one, other = (soundfile.read(tmp_path / "out" / str(row["audio"]))[0] for row in (first, second))
    assert not np.array_equal(one, other)
    assert not all(np.array_equal(sound, original) for sound in (one, other))


def test_rows_are_joined_with_their_texts(clips: Path, tmp_path: Path) -> None:
    rows = augmented(clips, tmp_path / "out", "--join", "1", "--max_duration_s", "6")
    assert len(rows) < len(TEXTS)
    words = [word for row in rows for word in str(row["text"]).split()]
    assert set(words) <= set(TEXTS)
    assert any(" " in str(row["text"]) for row in rows)


def test_the_same_seed_gives_the_same_clips(clips: Path, tmp_path: Path) -> None:
    one, other = (augmented(clips, tmp_path / name, "--seed", "3") for name in ("one", "other"))
    assert one == other
    for row in one:
        name = str(row["audio"])
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
