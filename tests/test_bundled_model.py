"""The model in git, on real sound: what it says, in every format, on every engine, at any length."""

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifacts import MANIFEST_NAME, REFERENCE_BACKEND, Artifact, open_artifact, sha256_of
from app.asr import BACKENDS, Engine, load_engine, load_for_lanes
from app.audio import AudioLimits, decode
from app.decoding import decode_ctc
from app.scheduler import Scheduler
from app.settings import BUNDLED_MODEL
from app.speed_record import BESIDE_MODEL
from app.transcriber import Transcriber
from app.transcript import Transcript
from scripts.speech.eval_sets import normalizer_for
from scripts.speech.scoring import character_error_rate, count_errors
from tests.fakes import all_lanes
from tests.sounds import ENCODINGS, wav

SAMPLES_FOLDER = Path(__file__).resolve().parents[1] / "samples"
CLIPS: list[dict[str, Any]] = [
    json.loads(line) for line in (SAMPLES_FOLDER / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
]
TO_THE_LETTER = {"sample.wav", "short.wav"}
LIMITS = AudioLimits(max_duration_s=3600.0, max_decoded_bytes=1 << 30, max_channels=8)
NOT_OUR_SPEECH = {"amr", "3gp amr", "wav g729 8 kHz"}
"""Made of random frames: FFmpeg decodes them but cannot encode them. That they decode is tested in tests/app/audio."""
SAME_SAMPLES = {
    *("wav s16", "wav s24", "wav s32", "wav f32", "wav f64", "wav stereo", "wav 8 channels", "wavex", "rf64", "w64"),
    *("aiff", "au", "caf", "caf alac", "flac 16", "flac 24", "ogg flac", "mp4 alac", "mov pcm", "mka flac"),
}
NARROW = {name for name in ENCODINGS if "8 kHz" in name or "gsm" in name}


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return open_artifact(BUNDLED_MODEL)


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def engine(request: pytest.FixtureRequest, artifact: Artifact) -> Engine:
    return load_engine(artifact, request.param, threads=1)


@pytest.fixture(scope="module")
def int8(artifact: Artifact) -> Engine:
    return load_engine(artifact, "onnx_int8", threads=1)


def samples_of(name: str) -> NDArray[np.float32]:
    with (SAMPLES_FOLDER / name).open("rb") as file:
        return decode(file, 16_000, LIMITS).samples


def say(artifact: Artifact, engine: Engine, samples: NDArray[np.float32]) -> str:
    (emissions,) = engine.emissions([samples])
    return " ".join(word.text for word in decode_ctc(emissions, artifact.vocabulary, artifact.frame_s))


def transcribe(artifact: Artifact, engine: Engine, sound: bytes) -> Transcript:
    scheduler = Scheduler(all_lanes(engine), workers=2, rate_hz=16_000, window_s=10.0)
    transcriber = Transcriber(artifact, scheduler, LIMITS, window_s=10.0, overlap_s=3.0)
    try:
        return asyncio.run(transcriber.transcribe(io.BytesIO(sound)))
    finally:
        transcriber.close()


@pytest.mark.parametrize(
    ("backend", "batches"), [("onnx", True), ("onnx_int8", False), ("pytorch", False), ("openvino", False)]
)
def test_the_engines_of_all_lanes_say_the_same(artifact: Artifact, backend: str, batches: bool) -> None:
    engines = load_for_lanes(artifact, backend, threads=2)
    assert engines.batches is batches
    texts = {say(artifact, engine, samples_of("sample.wav")) for engine in engines.distinct}
    assert texts == {"merhaba bugün hava çok güzel öğleden sonra parkta yürüyüş yapacağız"}


def test_the_folder_is_what_its_manifest_says(artifact: Artifact) -> None:
    files = artifact.manifest["files"]
    assert set(files) == {path.name for path in BUNDLED_MODEL.iterdir()} - {MANIFEST_NAME, "README.md", BESIDE_MODEL}
    for name, described in files.items():
        assert sha256_of(BUNDLED_MODEL / name) == described["sha256"]
        assert (BUNDLED_MODEL / name).stat().st_size == described["bytes"]
    assert files["model_int8.onnx"]["bytes"] <= 8_000_000
    assert sum(described["bytes"] for described in files.values()) <= 40_000_000


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_backend_is_proven(artifact: Artifact, backend: str) -> None:
    artifact.check_proofs(backend)
    for engines in artifact.manifest["proofs"]["accuracy"].values():
        assert backend in engines
        assert engines[backend]["wer"]["rate"] <= engines[REFERENCE_BACKEND]["wer"]["rate"] + 0.005


def letters_wrong(expected: str, text: str) -> float:
    return character_error_rate([count_errors(expected, text)]).rate


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip["audio"])
def test_every_engine_says_what_was_said(artifact: Artifact, engine: Engine, clip: dict[str, Any]) -> None:
    """To the letter, or of a hundred letters, spaces included, at most five wrong."""
    expected, text = normalizer_for(artifact, "tr")(clip["text"]), say(artifact, engine, samples_of(clip["audio"]))
    if clip["audio"] in TO_THE_LETTER:
        assert text == expected
    assert letters_wrong(expected, text) <= 0.05


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - NOT_OUR_SPEECH))
def test_every_format_gives_the_same_text(artifact: Artifact, int8: Engine, encoding: str) -> None:
    """The text of the WAV. Lossy formats may cost two letters of a hundred; half the band (8 kHz, GSM) ten."""
    samples = samples_of("sample.wav")
    expected = transcribe(artifact, int8, wav(samples)).text
    text = transcribe(artifact, int8, ENCODINGS[encoding](samples, 16_000)).text
    if encoding in SAME_SAMPLES:
        assert text == expected
    else:
        assert letters_wrong(expected, text) <= (0.1 if encoding in NARROW else 0.02)


def test_a_long_file_gives_the_words_that_its_parts_give(artifact: Artifact, int8: Engine) -> None:
    pause = np.zeros(8_000, dtype=np.float32)
    parts = [samples_of(clip["audio"]) for clip in CLIPS] * 6
    long = np.concatenate([sound for part in parts for sound in (part, pause)])
    expected = " ".join(say(artifact, int8, part) for part in parts)
    transcript = transcribe(artifact, int8, wav(long))
    assert transcript.duration_s > 140
    assert letters_wrong(expected, transcript.text) <= 0.02  # a window also hears what is beside a part
    starts = [word.start_s for word in transcript.words]
    assert starts == sorted(starts)


def test_words_lie_where_they_are_said(artifact: Artifact, int8: Engine) -> None:
    pause_s = 2.0
    clip = samples_of("short.wav")
    sound = np.concatenate([np.zeros(int(pause_s * 16_000), dtype=np.float32), clip])
    moved = transcribe(artifact, int8, wav(sound)).words
    still = transcribe(artifact, int8, wav(clip)).words
    assert len(moved) == len(still) == 2
    for before, after in zip(still, moved, strict=True):
        assert after.start_s - before.start_s == pytest.approx(pause_s, abs=0.1)
        assert before.start_s < before.end_s <= len(clip) / 16_000
        assert before.confidence > 0.5


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(48_000, dtype=np.float32),
        np.ones(48_000, dtype=np.float32),
        np.random.default_rng(0).normal(0, 0.05, 48_000).astype(np.float32),
        np.zeros(1, dtype=np.float32),
    ],
    ids=["silence", "constant", "noise", "one sample"],
)
def test_where_nothing_is_said_the_text_is_empty(
    artifact: Artifact, int8: Engine, samples: NDArray[np.float32]
) -> None:
    transcript = transcribe(artifact, int8, wav(samples))
    assert (transcript.text, transcript.words, transcript.confidence) == ("", (), None)
