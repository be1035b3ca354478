"""`POST /asr` and `POST /detect-language`, with the requests of Bazarr as `requests` sends them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import srt
import webvtt

from app.artifacts import Artifact
from app.families.ctc.decoding import Emissions, WordDecoder
from app.families.ctc.recognizer import CtcDecoder
from app.models import Lanes
from app.recognizer import Options, Window
from app.runtimes.registry import ONNX_INT8
from app.service import LoadedModel
from app.transcript import Decoding, Segment
from tests.conftest import Client, ServiceFactory, assert_error
from tests.fakes import CERTAINTY, WORD, WORD_END_S, WORD_START_S, FakeRecognizer, all_lanes, fake_artifact
from tests.sounds import ENCODINGS, MODEL_HZ, speechlike, wav

BAZARR = {"task": "transcribe", "language": "tr", "output": "srt", "encode": "false"}
"""What `whisperai.py` sends; newer versions add the path of the video."""


def samples(duration_s: float) -> bytes:
    """As Bazarr makes them: `ffmpeg -f s16le -ac 1 -ar 16000`."""
    return np.round(speechlike(duration_s) * 32767).astype("<i2").tobytes()


def post(client: Client, path: str, sound: bytes, **query: str) -> httpx.Response:
    """The file has its field's name, as `requests` gives it to bytes."""
    return client.post(path, params=query, files={"audio_file": ("audio_file", sound)})


class Polyglot(FakeRecognizer):
    """Writes what it is asked for, and finds every clip to be Turkish."""

    detects_language = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Options] = []
        self.windows_computed = 0

    def check_options(self, options: Options) -> None:
        pass

    def compute(self, windows: Sequence[Window], *rest: Any) -> list[Emissions]:
        self.windows_computed += len(windows)
        return super().compute(windows, *rest)

    def decoder(self, options: Options = Options()) -> CtcDecoder:
        self.asked.append(options)
        return PolyglotDecoder(self.settings, 200, WordDecoder(self.settings.vocabulary, self.settings.frame_s))


class PolyglotDecoder(CtcDecoder):
    def add(self, window: Window, output: Emissions) -> list[Segment]:
        return [replace(segment, decoding=TURKISH) for segment in super().add(window, output)]

    def finish(self) -> list[Segment]:
        return [replace(segment, decoding=TURKISH) for segment in super().finish()]


TURKISH = Decoding((7, 8), 0.0, -0.1, 1.2, 0.01, "tr", 0.93)


@pytest.fixture
def polyglot() -> Polyglot:
    return Polyglot()


@pytest.fixture
def polyglot_client(polyglot: Polyglot, serve: ServiceFactory, tmp_path: Path) -> Iterator[Client]:
    with serve(load=lambda _: loaded(all_lanes(polyglot), tmp_path)) as client:
        yield client


def loaded(lanes: Lanes, folder: Path) -> LoadedModel:
    return LoadedModel(fake_artifact(folder), ONNX_INT8, lanes)


@pytest.fixture
def turkish_client(serve: ServiceFactory, tmp_path: Path, engine: FakeRecognizer) -> Iterator[Client]:
    """A model of one language, which its card names."""
    folder = tmp_path / "turkish"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlanguage: tr\n---\n", encoding="utf-8")
    model = LoadedModel(Artifact(folder, "fake", manifest={}), ONNX_INT8, all_lanes(engine))
    with serve(load=lambda _: model) as client:
        yield client


@pytest.mark.parametrize("more", [{}, {"video_file": "/films/a.mkv"}])
def test_what_bazarr_sends_gives_subtitles(turkish_client: Client, more: dict[str, str]) -> None:
    answer = post(turkish_client, "/asr", samples(20.0), **BAZARR, **more)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    subtitles = list(srt.parse(answer.content.decode()))
    assert " ".join(subtitle.content for subtitle in subtitles).split() == [WORD] * 20


def test_bazarr_asks_for_the_language_first(turkish_client: Client) -> None:
    answer = post(turkish_client, "/detect-language", samples(3.0), encode="false")
    assert answer.json() == {"detected_language": "turkish", "language_code": "tr", "confidence": 1.0}


def test_samples_and_files(turkish_client: Client) -> None:
    """`encode=false` means bare samples, whatever they look like; otherwise the format is detected."""
    for sound, encode in ((samples(3.0), "false"), (wav(speechlike(3.0)), "true"), (wav(speechlike(3.0)), "True")):
        assert post(turkish_client, "/asr", sound, encode=encode).text == "dikte\n" * 3
    assert post(turkish_client, "/asr", ENCODINGS["ogg opus"](speechlike(2.0), MODEL_HZ)).text == "dikte\n" * 2
    assert_error(post(turkish_client, "/asr", samples(3.0)), 415, "unsupported_media")
    assert_error(post(turkish_client, "/asr", b"", encode="false"), 400, "invalid_audio")


def test_the_formats(turkish_client: Client) -> None:
    """A segment for each word: the pauses between them are long."""
    sound = wav(speechlike(2.0))
    bodies = {kind: post(turkish_client, "/asr", sound, output=kind) for kind in ("txt", "srt", "vtt", "tsv", "json")}
    assert bodies["txt"].text == "dikte\ndikte\n"
    assert [subtitle.content for subtitle in srt.parse(bodies["srt"].text)] == [f"{WORD} {WORD}"]
    assert [caption.text for caption in webvtt.from_string(bodies["vtt"].text).captions] == [f"{WORD} {WORD}"]
    assert bodies["tsv"].text == "start\tend\ttext\n300\t480\tdikte\n1300\t1480\tdikte\n"
    assert bodies["json"].json() == {
        "text": "dikte dikte",
        "segments": [
            {"id": 0, "start": WORD_START_S, "end": WORD_END_S, "text": WORD},
            {"id": 1, "start": 1 + WORD_START_S, "end": 1 + WORD_END_S, "text": WORD},
        ],
        "language": "tr",
    }


def test_subtitles_are_laid_out_as_the_settings_say(serve: ServiceFactory) -> None:
    sound = wav(speechlike(2.0))
    with serve(subtitle_min_s=0.5) as client:
        assert [part.content for part in srt.parse(post(client, "/asr", sound, output="srt").text)] == [WORD] * 2
        captions = webvtt.from_string(post(client, "/asr", sound, output="vtt").text).captions
        assert [caption.text for caption in captions] == [WORD] * 2


def test_words_have_times_and_probabilities(turkish_client: Client) -> None:
    body = post(turkish_client, "/asr", wav(speechlike(1.0)), output="json", word_timestamps="true").json()
    word = {"word": WORD, "start": WORD_START_S, "end": WORD_END_S, "probability": CERTAINTY}
    assert body["segments"][0]["words"] == [word]


def test_hints_that_a_model_of_one_language_cannot_honor_are_ignored(turkish_client: Client, client: Client) -> None:
    sound = wav(speechlike(1.0))
    for query in ({"language": "tr"}, {"language": "tr-TR"}, {"initial_prompt": "Ankara"}, {"vad_filter": "true"}):
        assert post(turkish_client, "/asr", sound, **query).text == "dikte\n"
    assert post(client, "/asr", sound, language="en").text == "dikte\n"  # it may be: no model card says what it is


def test_what_would_give_something_else_is_refused(turkish_client: Client) -> None:
    sound = wav(speechlike(1.0))
    for query in ({"language": "en"}, {"task": "translate"}, {"output": "docx"}, {"encode": "maybe"}, {"task": "sing"}):
        assert_error(post(turkish_client, "/asr", sound, **query), 422, "invalid_parameter")
    repeated = turkish_client.post("/asr?task=translate&task=transcribe", files={"audio_file": sound})
    assert_error(repeated, 422, "invalid_parameter")


def test_the_file_is_in_its_field(client: Client) -> None:
    for path in ("/asr", "/detect-language"):
        answer = client.post(path, files={"file": wav(speechlike(1.0))})
        assert assert_error(answer, 422, "invalid_parameter")["field"] == "audio_file"


def test_a_model_whose_language_nobody_names_says_what_to_do(client: Client) -> None:
    error = assert_error(post(client, "/detect-language", samples(1.0), encode="false"), 422, "invalid_parameter")
    assert "README.md" in error["message"]


def test_options_reach_a_model_that_has_them(polyglot: Polyglot, polyglot_client: Client) -> None:
    query = {"task": "translate", "language": "TR", "initial_prompt": " Ankara ", "word_timestamps": "true"}
    body = post(polyglot_client, "/asr", wav(speechlike(1.0)), output="json", **query).json()
    asked = polyglot.asked[-1]
    assert (asked.task, asked.language, asked.prompt, asked.word_times) == ("translate", "tr", "Ankara", True)
    assert body["language"] == "tr"
    assert body["segments"][0] | {"words": None} == {
        "id": 0,
        "start": WORD_START_S,
        "end": WORD_END_S,
        "text": WORD,
        "words": None,
        "tokens": [7, 8],
        "temperature": 0.0,
        "avg_logprob": -0.1,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.01,
    }


def test_the_language_is_detected_without_computing_the_rest(polyglot: Polyglot, polyglot_client: Client) -> None:
    """Bazarr sends whole films."""
    before = polyglot.windows_computed
    answer = post(polyglot_client, "/detect-language", samples(700.0), encode="false")
    assert answer.json() == {"detected_language": "turkish", "language_code": "tr", "confidence": 0.93}
    assert polyglot.asked[-1].language is None
    assert polyglot.windows_computed - before < 37  # windows of ten minutes


def test_silence_has_no_language(polyglot_client: Client) -> None:
    assert_error(post(polyglot_client, "/detect-language", bytes(64_000), encode="false"), 400, "invalid_audio")
