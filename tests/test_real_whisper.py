"""A real Whisper checkpoint on human speech: `make test-whisper CHECKPOINT=folder SPEECH=manifest.jsonl LANGUAGE=en`.

`make test` does not run this: the weights and the speech are not in the repository.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from app.families.whisper.recognizer import WhisperRecognizer
from app.models import load_recognizer, open_model
from app.recognizer import AnyRecognizer, Options, Samples, compute_windows, decode_windows
from scripts.exporting.artifact_folder import copy_settings
from scripts.exporting.exporter import Options as ExportOptions
from scripts.exporting.whisper_exporter import WhisperExporter
from scripts.exporting.whisper_proofs import agreement_with_generate
from scripts.speech.data import SpeechRows
from scripts.speech.eval_sets import load_eval_set, normalizer_for
from scripts.speech.scoring import ClipErrors, count_errors, word_error_increase, word_error_rate

CHECKPOINT, SPEECH, LANGUAGE = (os.environ.get(name, "") for name in ("CHECKPOINT", "SPEECH", "LANGUAGE"))
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (CHECKPOINT and SPEECH and LANGUAGE), reason="make test-whisper names checkpoint and speech"
    ),
]
CLIPS = 40
MAX_INCREASE = 0.03
"""Most that the WER of so few clips may rise, in the middle of its interval."""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    exporter = WhisperExporter()
    copy_settings(Path(CHECKPOINT), folder, exporter.settings_files, keep=False)
    exporter.make(exporter.load(Path(CHECKPOINT)), folder, ExportOptions(), {})
    return folder


@pytest.fixture(scope="module")
def rows() -> SpeechRows:
    return load_eval_set(SPEECH, CLIPS)


def on(artifact: Path, backend: str) -> WhisperRecognizer:
    recognizer = load_recognizer(open_model(artifact), backend, threads=1)
    assert isinstance(recognizer, WhisperRecognizer)
    return recognizer


def text(recognizer: AnyRecognizer, samples: Samples, options: Options) -> str:
    windows = recognizer.windows(samples, options)
    outputs = compute_windows(recognizer, windows, options)
    return " ".join(segment.text for segment in decode_windows(recognizer, windows, outputs, options))


def errors(recognizer: WhisperRecognizer, artifact: Path, rows: SpeechRows) -> list[ClipErrors]:
    normalizer = normalizer_for(open_model(artifact).family, LANGUAGE)
    options = Options(language=LANGUAGE if recognizer.settings.is_multilingual else None)
    return [
        count_errors(
            normalizer(rows.text(index)),
            normalizer(text(recognizer, rows.samples(index, recognizer.rate_hz), options)),
        )
        for index in range(len(rows))
    ]


def test_tokens_are_those_of_transformers(artifact: Path, rows: SpeechRows) -> None:
    model = WhisperExporter().load(Path(CHECKPOINT))
    some = rows.select(list(range(0, len(rows), 8)))
    assert agreement_with_generate(model, on(artifact, "onnx"), {"speech": some}, LANGUAGE) == 1


def test_int8_and_condensed_silence_keep_the_words(artifact: Path, rows: SpeechRows) -> None:
    full = errors(on(artifact, "onnx").condensing(False), artifact, rows)
    int8 = errors(on(artifact, "onnx_int8").condensing(False), artifact, rows)
    condensed = errors(on(artifact, "onnx_int8").condensing(True), artifact, rows)
    print(f"WER: FP32 {word_error_rate(full)}, INT8 {word_error_rate(int8)}, condensed {word_error_rate(condensed)}")
    assert word_error_increase(full, int8).rate <= MAX_INCREASE
    assert word_error_increase(int8, condensed).rate <= MAX_INCREASE


def test_the_language_is_detected(artifact: Path, rows: SpeechRows) -> None:
    recognizer = on(artifact, "onnx_int8").condensing(True)
    if not recognizer.settings.is_multilingual:
        pytest.skip("a model of one language")
    found = [
        recognizer.compute(windows)[0].language
        for index in range(10)
        if (windows := recognizer.windows(rows.samples(index, recognizer.rate_hz))[:1])
    ]
    assert found.count(LANGUAGE) >= 0.9 * len(found)


def test_a_minute_of_several_clips_loses_nothing(artifact: Path, rows: SpeechRows) -> None:
    recognizer = on(artifact, "onnx_int8").condensing(True)
    options = Options(language=LANGUAGE if recognizer.settings.is_multilingual else None)
    normalizer = normalizer_for(open_model(artifact).family, LANGUAGE)
    clips = [rows.samples(index, recognizer.rate_hz) for index in range(10)]
    pause = np.zeros(recognizer.rate_hz, dtype=np.float32)
    joined = np.concatenate([part for clip in clips for part in (clip, pause)])
    expected = normalizer(" ".join(rows.text(index) for index in range(10)))
    apart = normalizer(" ".join(text(recognizer, clip, options) for clip in clips))
    together = normalizer(text(recognizer, joined, options))
    increase = count_errors(expected, together).word_errors - count_errors(expected, apart).word_errors
    assert increase <= 0.05 * len(expected.split())
