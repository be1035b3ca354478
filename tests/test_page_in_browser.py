"""The page at `/` in Chromium, on a real service process with the bundled model and a fake microphone."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import srt

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
KEY = "alpha"
CALL_TEXT = "iyi günler geçen ayki faturam hakkında bilgi almak istiyorum müşteri numaram beş sekiz iki dört"
SAMPLE_TEXT = "merhaba bugün hava çok güzel öğleden sonra parkta yürüyüş yapacağız"
NODE_MODULES = os.environ.get("DIKTE_NODE_MODULES", "")
"""A `node_modules` folder with playwright-core and axe-core."""
CHROMIUM = os.environ.get("DIKTE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
RECORD_S = float(os.environ.get("DIKTE_RECORD_S", "15"))
PICTURES = os.environ.get("DIKTE_PICTURES", "")
"""Where screenshots are kept."""
TIMEOUT_S = 120 + RECORD_S

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and CHROMIUM and (Path(NODE_MODULES) / "playwright-core").is_dir()),
    reason="needs Node, Chromium and two packages: `make test-page` installs the packages and runs this test",
)


def write_sounds(folder: Path) -> tuple[Path, Path]:
    """A call with two sides, and a voice for the microphone, which lasts as long as the recording."""
    rate_hz, pause = 16_000, np.zeros(16_000)
    call, lesson, sample = (soundfile.read(SAMPLES / f"{name}.wav")[0] for name in ("call", "lesson", "sample"))
    sides = np.zeros((len(sample) + len(pause) + len(call), 2))
    sides[: len(sample), 0] = sample
    sides[-len(call) :, 1] = call
    soundfile.write(folder / "two-sides.wav", sides, rate_hz)
    said = np.concatenate([pause, call, pause, lesson, pause, sample])
    soundfile.write(folder / "voice.wav", np.resize(said, int((RECORD_S + 30) * rate_hz)), rate_hz)
    return folder / "two-sides.wav", folder / "voice.wav"


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the walk through the page saw, and what the service answers to the same file."""
    folder = tmp_path_factory.mktemp("page")
    pictures = Path(PICTURES).resolve() if PICTURES else folder
    sides, voice = write_sounds(folder)
    with serving(tmp_path_factory.mktemp("service"), ASR_API_KEYS=KEY) as (address, _):
        wait_until_ready(address)
        url = address.replace("127.0.0.1", "localhost") + "/"
        command = ["node", str(ROOT / "tests" / "page_in_browser.mjs"), url, KEY, str(Path(NODE_MODULES).resolve())]
        command += [str(pictures), str(sides), str(voice), str(RECORD_S)]
        environment = os.environ | {"DIKTE_CHROMIUM": CHROMIUM}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert result.returncode == 0, result.stderr + result.stdout[-2000:]
        seen: dict[str, Any] = json.loads(result.stdout)
        seen["answers"] = {
            kind: httpx.post(
                f"{address}/transcribe",
                files={"file": sides.read_bytes()},
                data={"response_format": kind, "timestamps": "word"},
                headers={"Authorization": f"Bearer {KEY}"},
            ).text
            for kind in ("text", "srt", "vtt", "json")
        }
    return seen


def test_nothing_fails_and_nothing_is_requested_elsewhere(walk: dict[str, Any]) -> None:
    assert walk["errors"] == []
    assert walk["foreign"] == []


def test_axe_finds_nothing_in_either_theme(walk: dict[str, Any]) -> None:
    assert len(walk["axe"]) == 10
    assert {state: found for state, found in walk["axe"].items() if found} == {}


def test_an_upload_is_shown_by_speaker(walk: dict[str, Any]) -> None:
    assert walk["speakers"] == ["Speaker A", "Speaker B"]
    assert walk["words"] == f"{SAMPLE_TEXT} {CALL_TEXT}".split()
    assert walk["painted"] > 1000, "the waveform and the words"


def test_files_are_what_the_service_answers(walk: dict[str, Any]) -> None:
    files = {kind: file["text"] for kind, file in walk["files"].items()}
    for kind in ("text", "srt", "vtt"):
        assert files[kind] == walk["answers"][kind], kind
    assert len(list(srt.parse(files["srt"]))) >= 2
    timed = {"inference_time", "timings"}
    page, service = (
        {name: value for name, value in json.loads(text).items() if name not in timed}
        for text in (files["json"], walk["answers"]["json"])
    )
    assert page == service
    assert {kind: file["name"] for kind, file in walk["files"].items()} == {
        "text": "two-sides.txt", "srt": "two-sides.srt", "vtt": "two-sides.vtt", "json": "two-sides.json"
    }  # fmt: skip


def test_the_command_does_not_have_the_key(walk: dict[str, Any]) -> None:
    assert walk["curl"].startswith('curl -N -H "Authorization: Bearer $DIKTE_KEY" -F file=@two-sides.wav')
    assert KEY not in walk["curl"]


def test_a_clicked_word_is_heard(walk: dict[str, Any]) -> None:
    word = next(word for word in json.loads(walk["answers"]["json"])["words"] if word["word"] == "öğleden")
    assert walk["clicked"]["word"] == "öğleden"
    assert not walk["clicked"]["paused"]
    assert word["start"] - 0.01 <= walk["clicked"]["currentTime"] < word["end"] + 0.5
    assert walk["recordingHeard"]["paused"] is False


def test_the_keyboard_plays_and_goes_from_word_to_word(walk: dict[str, Any]) -> None:
    assert walk["afterSpace"]["paused"]
    assert walk["afterRight"] == "sonra"
    assert walk["afterEnd"] == "dört"
    assert walk["afterUp"] == "merhaba"
    assert walk["afterHome"] == "merhaba"


def test_every_control_is_reached_by_tab_and_seen(walk: dict[str, Any]) -> None:
    wanted = [
        *("language", "theme", "choose", "record", "play", "rate", "zoom-out", "zoom-in", "timeline", "word"),
        *("copy", "text", "srt", "vtt", "json", "curl-line", "copy-curl"),
    ]
    order = [name for name in walk["reached"] if name in wanted]
    assert order == wanted
    assert [name for name in walk["reached"] if "unseen" in name] == []


def test_an_error_is_told_in_words(walk: dict[str, Any]) -> None:
    title, text = walk["failed"]
    assert title == "This is not audio that the service knows"
    assert "not audio" in text


def test_speech_is_transcribed_live(walk: dict[str, Any]) -> None:
    assert walk["committed"]
    assert walk["volatile"]
    assert len(walk["liveBeforeStop"]) >= 10, "finals come while people speak"
    assert walk["live"][: len(walk["liveBeforeStop"])] == walk["liveBeforeStop"]
    said = f"{CALL_TEXT} ".split()
    assert len(set(said) & set(walk["live"])) > 0.8 * len(set(said))
    assert CALL_TEXT.split()[-1] in walk["read"], "finals are read out"


def test_keywords_and_files_that_are_dropped(walk: dict[str, Any]) -> None:
    assert walk["dropShown"]
    assert walk["dropHidden"]
    assert walk["dropped"][0] == "Merhaba"
    assert {"PARKta", "PARK'ta"} & set(walk["dropped"])


def test_a_file_that_waits_is_cancelled(walk: dict[str, Any]) -> None:
    assert walk["cancelled"] == "Cancelled"


def test_it_speaks_turkish_and_fits_a_phone(walk: dict[str, Any]) -> None:
    assert walk["turkish"] == ["tr", "Kayda başla"]
    assert walk["sideways"] is False
