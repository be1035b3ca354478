import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.artifacts import ArtifactError
from app.families.ctc.graph import LENGTHS_INPUT
from app.families.ctc.settings import CtcSettings
from app.recognizer import WINDOW_S
from scripts.exporting.calibration import calibration_feeds
from scripts.speech.data import DataError
from tests.checkpoints import RATE_HZ, babbling, built
from tests.recognizers import ctc_settings


@pytest.fixture
def settings(checkpoints: Path) -> CtcSettings:
    return ctc_settings(built("cahya_like", checkpoints))


def manifest(folder: Path, durations_s: list[float], silent: tuple[int, ...] = ()) -> str:
    rows = []
    for index, duration_s in enumerate(durations_s):
        samples = babbling(duration_s, index) * (index not in silent)
        soundfile.write(folder / f"{index}.wav", samples, RATE_HZ, subtype="FLOAT")
        rows.append(json.dumps({"audio": f"{index}.wav", "text": "", "duration": duration_s}))
    (folder / "clips.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return str(folder / "clips.jsonl")


@pytest.mark.parametrize(
    ("most", "taken"), [(3, [0, 4, 8]), (5, [0, 2, 4, 6, 8]), (9, range(10)[::2]), (10, range(10))]
)
def test_clips_are_spread_over_the_data(settings: CtcSettings, tmp_path: Path, most: int, taken: list[int]) -> None:
    durations_s = [0.5 + index / 10 for index in range(10)]
    feeds = calibration_feeds(manifest(tmp_path, durations_s), settings, most)
    lengths = [round(durations_s[index] * RATE_HZ) for index in taken]
    assert [int(feed[LENGTHS_INPUT][0]) for feed in feeds] == lengths
    assert [feed["input_values"].shape for feed in feeds] == [(1, length) for length in lengths]
    assert all(feed["input_values"].dtype == np.float32 and feed[LENGTHS_INPUT].dtype == np.int64 for feed in feeds)


def test_clips_that_engines_do_not_compute_are_skipped(settings: CtcSettings, tmp_path: Path) -> None:
    feeds = calibration_feeds(manifest(tmp_path, [0.5, 0.01, 0.7], silent=(2,)), settings, 10)
    assert [int(feed[LENGTHS_INPUT][0]) for feed in feeds] == [8_000]


def test_by_default_the_samples(settings: CtcSettings) -> None:
    assert len(calibration_feeds("", settings, 100)) >= 3


def test_a_folder_of_audio_and_the_first_window_of_long_clips(settings: CtcSettings, tmp_path: Path) -> None:
    manifest(tmp_path, [0.5, 30.0])
    (tmp_path / "clips.jsonl").unlink()
    feeds = calibration_feeds(str(tmp_path), settings, 10)
    assert [int(feed[LENGTHS_INPUT][0]) for feed in feeds] == [8_000, WINDOW_S * RATE_HZ]


def test_nothing_to_calibrate_on(settings: CtcSettings, tmp_path: Path) -> None:
    silence = manifest(tmp_path, [0.5], silent=(0,))
    with pytest.raises(ArtifactError, match=r"nothing to calibrate on in .*clips\.jsonl"):
        calibration_feeds(silence, settings, 10)
    (tmp_path / "0.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"0\.wav \(line 1 of .*clips\.jsonl\) cannot be read"):
        calibration_feeds(silence, settings, 10)
    without_duration = json.dumps({"audio": "0.wav", "text": ""})
    Path(silence).write_text(without_duration, encoding="utf-8")
    with pytest.raises(DataError, match=r"clips\.jsonl: .*not audio"):
        calibration_feeds(silence, settings, 10)
    with pytest.raises(DataError, match="no manifest"):
        calibration_feeds(str(tmp_path / "none.jsonl"), settings, 10)
