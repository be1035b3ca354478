import json
import shutil
from pathlib import Path

import pytest

from app.models import load_recognizer, open_model
from app.recognizer import Options
from app.settings import BUNDLED_MODEL
from scripts.speech.data import DataError
from scripts.speech.eval_sets import figures_of, load_eval_set, normalizer_for, options_for, score
from tests.recognizers import ctc_recognizer_on, ctc_settings
from tests.whisper_checkpoints import make_whisper

SAMPLES = Path(__file__).resolve().parents[3] / "samples"


def test_texts_are_normalized_to_the_letters_of_the_model() -> None:
    normalizer = normalizer_for(open_model(BUNDLED_MODEL).family, "tr")
    assert normalizer("İstanbul'da 3 kâğıt!") == "istanbulda üç kağıt"


def test_every_clip_is_transcribed_and_scored() -> None:
    model = open_model(BUNDLED_MODEL)
    rows = load_eval_set(str(SAMPLES / "manifest.jsonl"))
    recognizer = load_recognizer(model, "onnx_int8", 1)
    scored = score(recognizer, rows, normalizer_for(model.family, "tr"), workers=2)
    assert [clip.name for clip in scored] == ["sample.wav", "lesson.wav", "call.wav", "short.wav"]
    assert scored[3].reference == scored[3].hypothesis == "evet doğru"
    assert scored[0].reference == "merhaba bugün hava çok güzel öğleden sonra parkta yürüyüş yapacağız"
    figures = figures_of([clip.errors for clip in scored], rows)
    assert (figures.clips, figures.hours) == (4, 0.007)
    assert figures.cer.rate <= 0.05


def test_wrong_letters_are_counted() -> None:
    """Those of the bundled model without its language model."""
    rows = load_eval_set(str(SAMPLES / "manifest.jsonl"))
    recognizer = ctc_recognizer_on(ctc_settings(BUNDLED_MODEL), BUNDLED_MODEL / "model_int8.onnx")
    scored = score(recognizer, rows, normalizer_for(open_model(BUNDLED_MODEL).family, "tr"), workers=2)
    figures = figures_of([clip.errors for clip in scored], rows)
    assert 0 < figures.cer.rate < figures.wer.rate < 0.1


def test_a_model_of_several_languages_is_told_the_language(checkpoints: Path) -> None:
    whisper = open_model(make_whisper(checkpoints))
    assert options_for(load_recognizer(whisper, "pytorch", 1), "tr") == Options(language="tr")
    english = open_model(make_whisper(checkpoints, multilingual=False))
    assert options_for(load_recognizer(english, "pytorch", 1), "tr") == Options()
    assert options_for(load_recognizer(open_model(BUNDLED_MODEL), "onnx_int8", 1), "tr") == Options()


def test_the_first_clips() -> None:
    rows = load_eval_set(str(SAMPLES / "manifest.jsonl"), limit=2)
    assert [rows.name(index) for index in range(len(rows))] == ["sample.wav", "lesson.wav"]


def test_the_split_for_tests_is_taken_if_there_is_one(tmp_path: Path) -> None:
    for split, text in (("test", "evet"), ("train", "hayır")):
        (tmp_path / split).mkdir()
        shutil.copy(SAMPLES / "short.wav", tmp_path / split)
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\nshort.wav,{text}\n", encoding="utf-8")
    assert load_eval_set(str(tmp_path)).text(0) == "evet"
    assert load_eval_set(str(tmp_path), split="train").text(0) == "hayır"


@pytest.mark.parametrize("content", [None, b"", b"RIFF\x00\x00\x00\x00WAVEbroken"], ids=["none", "empty", "broken"])
def test_audio_that_cannot_be_read_is_reported(tmp_path: Path, content: bytes | None) -> None:
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"audio": "clip.wav", "text": "bir"}) + "\n", encoding="utf-8")
    if content is not None:
        (tmp_path / "clip.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.jsonl: "):
        load_eval_set(str(manifest))


def test_a_set_without_clips_is_refused() -> None:
    with pytest.raises(DataError, match="no clips"):
        load_eval_set(str(SAMPLES / "manifest.jsonl"), limit=0)
