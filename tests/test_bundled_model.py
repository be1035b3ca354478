"""The model in git, on real sound: what it says, in every format, on every engine, at any length."""

import asyncio
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifacts import MANIFEST_NAME, sha256_of
from app.audio import AudioLimits, decode
from app.families.ctc.recognizer import CtcRecognizer
from app.models import Lanes, Model, check_proofs, load_for_lanes, load_recognizer, open_model
from app.recognizer import AnyRecognizer, ChannelMode, Options, Windowing
from app.runtimes.registry import BACKENDS, REFERENCE
from app.scheduler import Scheduler
from app.settings import BUNDLED_MODEL
from app.speed_record import BESIDE_MODEL
from app.transcriber import Transcriber
from app.transcript import Transcript
from scripts.speech.eval_sets import normalizer_for
from scripts.speech.scoring import character_error_rate, count_errors
from tests.calls import call
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
WINDOWING = Windowing(window_s=10.0, overlap_s=3.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(BUNDLED_MODEL)


@pytest.fixture(scope="module", params=sorted(BACKENDS))
def recognizer(request: pytest.FixtureRequest, model: Model) -> AnyRecognizer:
    return load_recognizer(model, request.param, threads=1)


@pytest.fixture(scope="module")
def int8(model: Model) -> AnyRecognizer:
    return load_recognizer(model, "onnx_int8", threads=1, windowing=WINDOWING)


@pytest.fixture(scope="module")
def text_of_wav(int8: AnyRecognizer) -> str:
    """The text of the WAV that the other formats are made from."""
    return transcribe(int8, wav(samples_of("sample.wav"))).text


def samples_of(name: str) -> NDArray[np.float32]:
    with (SAMPLES_FOLDER / name).open("rb") as file:
        return decode(file, 16_000, LIMITS).samples


def say(recognizer: AnyRecognizer, samples: NDArray[np.float32]) -> str:
    """The text of a clip that is computed at once, however long it is."""
    assert isinstance(recognizer, CtcRecognizer)
    (emissions,) = recognizer.emissions([samples])
    return recognizer.text(emissions)


def transcribe(recognizer: AnyRecognizer, sound: bytes) -> Transcript:
    transcriber = Transcriber(Lanes(recognizer, recognizer, recognizer), Scheduler(workers=2), LIMITS)
    try:
        return asyncio.run(transcriber.transcribe(io.BytesIO(sound)))
    finally:
        transcriber.close()


@pytest.mark.parametrize(
    ("backend", "batches"), [("onnx", True), ("onnx_int8", False), ("pytorch", False), ("openvino", False)]
)
def test_the_recognizers_of_all_lanes_say_the_same(model: Model, backend: str, batches: bool) -> None:
    lanes = load_for_lanes(model, backend, threads=2)
    assert {recognizer.batches for recognizer in lanes.distinct} == {batches}
    texts = {say(recognizer, samples_of("sample.wav")) for recognizer in lanes.distinct}
    assert texts == {"merhaba bugün hava çok güzel öğleden sonra parkta yürüyüş yapacağız"}


def test_the_folder_is_what_its_manifest_says(model: Model) -> None:
    files = model.artifact.manifest["files"]
    found = {path.relative_to(BUNDLED_MODEL).as_posix() for path in BUNDLED_MODEL.rglob("*") if path.is_file()}
    assert set(files) == found - {MANIFEST_NAME, "README.md", BESIDE_MODEL}
    for name, described in files.items():
        assert sha256_of(BUNDLED_MODEL / name) == described["sha256"]
        assert (BUNDLED_MODEL / name).stat().st_size == described["bytes"]
    assert files["model_int8.onnx"]["bytes"] <= 8_000_000
    assert sum(described["bytes"] for described in files.values()) <= 40_000_000


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_backend_is_proven(model: Model, backend: str) -> None:
    check_proofs(model, backend)
    for engines in model.artifact.manifest["proofs"]["accuracy"].values():
        assert backend in engines
        assert engines[backend]["wer"]["rate"] <= engines[REFERENCE]["wer"]["rate"] + 0.005


def letters_wrong(expected: str, text: str) -> float:
    return character_error_rate([count_errors(expected, text)]).rate


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip["audio"])
def test_every_backend_says_what_was_said(model: Model, recognizer: AnyRecognizer, clip: dict[str, Any]) -> None:
    """To the letter, or of a hundred letters, spaces included, at most five wrong."""
    expected = normalizer_for(model.family, "tr")(clip["text"])
    text = say(recognizer, samples_of(clip["audio"]))
    if clip["audio"] in TO_THE_LETTER:
        assert text == expected
    assert letters_wrong(expected, text) <= 0.05


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - NOT_OUR_SPEECH))
def test_every_format_gives_the_same_text(int8: AnyRecognizer, text_of_wav: str, encoding: str) -> None:
    """The text of the WAV. Lossy formats may cost two letters of a hundred; half the band (8 kHz, GSM) ten."""
    text = transcribe(int8, ENCODINGS[encoding](samples_of("sample.wav"), 16_000)).text
    if encoding in SAME_SAMPLES:
        assert text == text_of_wav
    else:
        assert letters_wrong(text_of_wav, text) <= (0.1 if encoding in NARROW else 0.02)


def test_a_long_file_gives_the_words_that_its_parts_give(int8: AnyRecognizer) -> None:
    pause = np.zeros(8_000, dtype=np.float32)
    parts = [samples_of(clip["audio"]) for clip in CLIPS]
    long = np.concatenate([sound for part in parts * 6 for sound in (part, pause)])
    expected = " ".join([say(int8, part) for part in parts] * 6)
    transcript = transcribe(int8, wav(long))
    assert transcript.duration_s > 140
    assert letters_wrong(expected, transcript.text) <= 0.02  # a window also covers the neighbours of a part
    starts = [word.start_s for word in transcript.words]
    assert starts == sorted(starts)


def test_words_lie_where_they_are_said(int8: AnyRecognizer) -> None:
    pause_s = 2.0
    clip = samples_of("short.wav")
    sound = np.concatenate([np.zeros(int(pause_s * 16_000), dtype=np.float32), clip])
    moved = transcribe(int8, wav(sound)).words
    still = transcribe(int8, wav(clip)).words
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
def test_where_nothing_is_said_the_text_is_empty(int8: AnyRecognizer, samples: NDArray[np.float32]) -> None:
    transcript = transcribe(int8, wav(samples))
    assert (transcript.text, transcript.words, transcript.confidence) == ("", (), None)


def test_a_call_has_the_words_of_its_sides_each_as_in_a_file_of_its_own(model: Model) -> None:
    """Two voices that overlap, on the engine of the service."""
    talk = call(overlap=0.3)
    transcriber = Transcriber(all_lanes(load_recognizer(model, "onnx_int8", threads=1)), Scheduler(workers=2), LIMITS)

    def transcribe_channels(samples: NDArray[Any], channels: ChannelMode) -> Transcript:
        return asyncio.run(transcriber.transcribe(io.BytesIO(wav(samples)), options=Options(channels=channels)))

    try:
        together = transcribe_channels(talk.stereo, "auto")
        alone = [transcribe_channels(side, "mix") for side in (talk.left, talk.right)]
    finally:
        transcriber.close()
    for channel, transcript in enumerate(alone):
        found = [word for word in together.words if word.channel == channel]
        assert [(word.text, word.start_s, word.end_s) for word in found] == [
            (word.text, word.start_s, word.end_s) for word in transcript.words
        ]
    assert {segment.speaker for segment in together.segments} == {"A", "B"}
    overlaps = [after.start_s < before.end_s for before, after in pairwise(together.segments)]
    assert any(overlaps)
