import io
from pathlib import Path

import pytest
import soundfile

from scripts.common.service_process import wait_until_ready
from scripts.tools.first_delta import measure, repeated
from tests.app.test_server import serving
from tests.sounds import speechlike, wav

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def test_a_clip_is_as_long_as_asked_for() -> None:
    clip = soundfile.info(io.BytesIO(repeated([SAMPLES / "short.wav", SAMPLES / "call.wav"], 30.0)))
    assert (clip.duration, clip.samplerate) == (30.0, 16_000)


def test_files_of_several_rates_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(speechlike(1), 8000))
    with pytest.raises(SystemExit, match="8000, 16000"):
        repeated([tmp_path / "a.wav", SAMPLES / "short.wav"], 10.0)


def test_the_first_text_comes_before_the_end(tmp_path: Path) -> None:
    with serving(tmp_path) as (url, _):
        wait_until_ready(url)
        first_s, whole_s, deltas, equal = measure(url, repeated([SAMPLES / "call.wav"], 60.0))
    assert 0 < first_s < whole_s
    assert deltas > 4
    assert equal
