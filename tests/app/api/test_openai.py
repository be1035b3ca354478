"""OpenAI's audio API, on the fake engine. `tests/test_openai_clients.py` has its real clients."""

import logging
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import pytest
import srt
import webvtt

from app.api.openai_options import IGNORED_HEADER
from app.errors import InvalidParameter
from app.recognizer import Options
from app.service import LoadedModel, Service
from tests.app.api.test_event_stream import events_of
from tests.app.api.test_outcomes import outcomes
from tests.conftest import Client, ServiceFactory, assert_conforms, assert_openai_error
from tests.fakes import CERTAINTY, WORD, WORD_END_S, WORD_START_S, FakeRecognizer, all_lanes, fake_artifact
from tests.sounds import speechlike, two_sides, wav

TRANSCRIPTIONS, TRANSLATIONS, MODELS = "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models"
CARD = "---\nlanguage: tr\nlicense: mit\n---\n\n# A model\n"
SEGMENT_FIELDS = {
    "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"
}  # fmt: skip


def post(client: Client, path: str = TRANSCRIPTIONS, duration_s: Any = 3, **fields: Any) -> httpx.Response:
    """Lists are sent repeated; `include__` stands for `include[]`."""
    data = {name.replace("__", "[]"): value for name, value in fields.items()}
    return client.post(path, files={"file": ("speech.wav", wav(speechlike(duration_s)))}, data=data)


def ignored(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return set(filter(None, answer.headers.get(IGNORED_HEADER, "").split(", ")))


def test_json(client: Client) -> None:
    answer = post(client, model="whisper-1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["openai-model"] == "fake"
    assert answer.json() == {"text": "dikte dikte dikte", "usage": {"type": "duration", "seconds": 3.0}}
    assert not ignored(answer)


def test_json_with_logprobs(client: Client) -> None:
    answer = post(client, include__=["logprobs"])
    tokens = answer.json()["logprobs"]
    assert "".join(token["token"] for token in tokens) == answer.json()["text"]
    assert bytes(tokens[1]["bytes"]) == b" dikte"
    assert [token["logprob"] for token in tokens] == pytest.approx([-0.30937] * 3, abs=1e-3)  # five letters
    assert not ignored(answer)


@pytest.mark.parametrize("name", ["keywords", "keywords__"])
def test_keywords(client: Client, name: str) -> None:
    fields: dict[str, Any] = {name: ["DikTe", "Ket"]}
    answer = post(client, **fields)
    assert answer.json()["text"] == "DikTe DikTe DikTe"
    assert not ignored(answer)
    assert post(client, **{name: "DikTe"}, response_format="text").text == "DikTe DikTe DikTe\n"
    events = events_of(post(client, **{name: "DikTe"}, stream="true").text)
    assert events[-1][1]["text"] == "DikTe DikTe DikTe"
    assert post(client).json()["text"] == "dikte dikte dikte"


@pytest.mark.parametrize(
    ("keyword", "message"), [("Zeynep", "no letter for 'z'"), ("Dikte:0", "above 0"), ("?", "no letters")]
)
def test_what_is_no_keyword_is_refused(client: Client, keyword: str, message: str) -> None:
    error = assert_openai_error(post(client, keywords__=[keyword]), 400, "invalid_value")
    assert error["param"] == "keywords"
    assert message in error["message"]


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_texts_are_plain_text_as_openai_sends_them(client: Client, response_format: str) -> None:
    answer = post(client, response_format=response_format)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    match response_format:
        case "text":
            assert answer.text == "dikte dikte dikte\n"
        case "srt":
            assert " ".join(subtitle.content for subtitle in srt.parse(answer.text)) == "dikte dikte dikte"
        case "vtt":
            assert " ".join(caption.text for caption in webvtt.from_string(answer.text).captions) == "dikte dikte dikte"


def test_verbose_json(client: Client) -> None:
    body = post(client, response_format="verbose_json", language="tr").json()
    segments = body.pop("segments")
    assert body == {
        "task": "transcribe",
        "language": "turkish",
        "duration": 3.0,
        "text": "dikte dikte dikte",
        "usage": {"type": "duration", "seconds": 3.0},
    }
    assert [set(segment) for segment in segments] == [SEGMENT_FIELDS] * 3
    assert segments[1] == {
        "id": 1,
        "seek": 130,
        "start": 1 + WORD_START_S,
        "end": 1 + WORD_END_S,
        "text": " dikte",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": pytest.approx(-0.0619, abs=1e-3),
        "compression_ratio": pytest.approx(6 / 14, abs=0.01),
        "no_speech_prob": 0.0,
    }
    assert "".join(segment["text"] for segment in segments).strip() == body["text"]


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities__", "timestamp_granularities[0]"])
@pytest.mark.parametrize("wanted", [["word"], ["segment"], ["word", "segment"]])
def test_words_segments_or_both(client: Client, name: str, wanted: list[str]) -> None:
    fields: dict[str, Any] = {"response_format": "verbose_json", name: wanted}
    body = post(client, **fields).json()
    assert ("words" in body, "segments" in body) == ("word" in wanted, "segment" in wanted)
    if "words" in body:
        assert body["words"][0] == {"word": WORD, "start": WORD_START_S, "end": WORD_END_S}


@pytest.mark.parametrize("value", ["word,segment", '["word", "segment"]', "word, segment"])
def test_a_list_in_one_field(client: Client, value: str) -> None:
    body = post(client, response_format="verbose_json", timestamp_granularities=value).json()
    assert {"words", "segments"} <= set(body)


def test_diarized_json_has_one_speaker(client: Client) -> None:
    body = post(client, response_format="diarized_json", chunking_strategy="auto").json()
    assert body["task"] == "transcribe"
    assert [segment["speaker"] for segment in body["segments"]] == ["A"] * 3
    assert body["segments"][0] == {
        "type": "transcript.text.segment",
        "id": "seg_0",
        "start": WORD_START_S,
        "end": WORD_END_S,
        "text": " dikte",
        "speaker": "A",
    }


def post_call(client: Client, **fields: Any) -> httpx.Response:
    return client.post(TRANSCRIPTIONS, files={"file": two_sides(4.0)}, data=fields)


def test_the_sides_of_a_call_are_speakers_in_every_format(client: Client) -> None:
    body = post_call(client, response_format="diarized_json").json()
    assert [segment["speaker"] for segment in body["segments"]] == ["A", "B"] * 2
    assert body["duration"] == 4.0
    assert post_call(client, response_format="text").text == "A: dikte\nB: dikte\nA: dikte\nB: dikte\n"
    subtitles = srt.parse(post_call(client, response_format="srt").text)
    assert [subtitle.content for subtitle in subtitles] == ["A: dikte", "B: dikte"] * 2
    captions = webvtt.from_string(post_call(client, response_format="vtt").text).captions
    assert [caption.voice for caption in captions] == ["A", "B"] * 2
    assert post_call(client).json()["text"] == "dikte dikte dikte dikte"


def test_the_sides_of_a_call_are_speakers_in_a_stream(client: Client) -> None:
    events = events_of(post_call(client, stream="true", response_format="diarized_json").text)
    segments = [data for name, data in events if name == "transcript.text.segment"]
    assert [segment["speaker"] for segment in segments] == ["A", "B"] * 2
    assert events[-1][1]["text"] == "dikte dikte dikte dikte"


def test_the_settings_say_what_becomes_of_channels(serve: ServiceFactory) -> None:
    with serve(channels="mix") as client:
        body = post_call(client, response_format="diarized_json").json()
        assert {segment["speaker"] for segment in body["segments"]} == {"A"}
        assert post_call(client, response_format="text").text == "dikte dikte dikte dikte\n"


def test_a_request_says_what_becomes_of_its_channels(client: Client, serve: ServiceFactory) -> None:
    mixed = post_call(client, channels="mix", response_format="diarized_json")
    assert {segment["speaker"] for segment in mixed.json()["segments"]} == {"A"}
    assert IGNORED_HEADER not in mixed.headers
    refused = post_call(client, channels="left")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "channels")
    with serve(channels="mix") as mixing:
        body = post_call(mixing, channels="separate", response_format="diarized_json").json()
        assert [segment["speaker"] for segment in body["segments"]] == ["A", "B"] * 2


@pytest.mark.parametrize("order", list(permutations(["model", "file", "response_format"])))
def test_the_order_of_fields_does_not_matter(client: Client, order: tuple[str, ...]) -> None:
    parts = {"model": b"whisper-1", "file": wav(speechlike(1)), "response_format": b"text"}
    files = [(name, ("speech.wav" if name == "file" else None, parts[name])) for name in order]
    assert client.post(TRANSCRIPTIONS, files=files).text == "dikte\n"


def test_silence_in_every_format(client: Client) -> None:
    files = {"file": wav(speechlike(1) * 0)}
    answers = {
        kind: client.post(TRANSCRIPTIONS, files=files, data={"response_format": kind})
        for kind in ("json", "text", "srt", "vtt", "verbose_json", "diarized_json")
    }
    assert answers["json"].json()["text"] == ""
    assert (answers["text"].text, answers["srt"].text, answers["vtt"].text) == ("\n", "", "WEBVTT\n\n")
    assert answers["verbose_json"].json()["segments"] == answers["diarized_json"].json()["segments"] == []


def test_what_the_model_cannot_honor_is_ignored_and_told(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dikte"):
        answer = post(client, temperature="0.4", prompt="names", language="en", languages__=["tr", "en"])
    assert answer.json()["text"] == "dikte dikte dikte"
    assert ignored(answer) == {"temperature", "prompt", "language", "languages"}
    assert "ignored parameters: language, languages, prompt, temperature" in caplog.text


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"keywords__": [WORD] * 100, "known_speaker_names__": ["agent", "customer"]},
            {"known_speaker_names"},
        ),
        ({"known_speaker_references__": "data:audio/wav;base64," + "A" * 200_000}, {"known_speaker_references"}),
        ({"foo": "bar", "user": "me"}, {"foo", "user"}),
        ({"x\r\nx: y": "bar", "é": "1", "a, b": "2"}, set()),
        ({"stream": "true", "response_format": "srt"}, {"stream"}),
        ({"include__": ["logprobs"], "response_format": "verbose_json"}, {"include"}),
        ({"include": ["logprobs", "other"]}, {"include"}),
        ({"timestamp_granularities__": ["word"]}, {"timestamp_granularities"}),
        ({"chunking_strategy[type]": "server_vad"}, set()),
        ({"chunking_strategy[type]": "server_vad", "chunking_strategy[threshold]": "0.5"}, {"chunking_strategy"}),
        ({"chunking_strategy": '{"type": "server_vad"}'}, {"chunking_strategy"}),
        ({"temperature": "0", "language": "", "prompt": " ", "stream": "false"}, set()),
        ({"language": "auto"}, set()),
        ({"model": ["a", "b"], "response_format": ["xml", "json"]}, set()),
    ],
)
def test_fields_without_effect(client: Client, fields: dict[str, Any], expected: set[str]) -> None:
    answer = post(client, **fields)
    assert ignored(answer) == expected
    assert "dikte" in answer.text


@pytest.fixture
def turkish(engine: FakeRecognizer, tmp_path: Path, serve: ServiceFactory) -> Any:
    """A service whose model's card says that it is Turkish."""
    (tmp_path / "README.md").write_text(CARD, encoding="utf-8")
    loaded = LoadedModel(fake_artifact(tmp_path), "onnx_int8", all_lanes(engine))
    return lambda **settings: serve(load=lambda _: loaded, **settings)


@pytest.mark.parametrize("language", ["tr", "TR", "tr-TR", "turkish", "Turkish"])
def test_the_language_of_the_model_may_be_named(turkish: Any, language: str) -> None:
    with turkish(strict=True) as client:
        assert not ignored(post(client, language=language))
        assert not ignored(post(client, languages__=["en", language]))


def test_the_language_is_that_of_the_model_card(turkish: Any) -> None:
    with turkish() as client:
        answer = post(client, language="en", response_format="verbose_json")
        assert (answer.json()["language"], ignored(answer)) == ("turkish", {"language"})


def test_a_language_that_nobody_names_is_unknown(client: Client) -> None:
    assert post(client, response_format="verbose_json").json()["language"] == "unknown"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": "0.4"}, "temperature"),
        ({"prompt": "names"}, "prompt"),
        ({"language": "en"}, "language"),
        ({"known_speaker_names__": "a"}, "known_speaker_names"),
        ({"foo": "bar"}, "foo"),
        ({"stream": "true", "response_format": "vtt"}, "stream"),
    ],
)
def test_strictly_it_is_refused(serve: ServiceFactory, fields: dict[str, str], field: str) -> None:
    with serve(strict=True) as client:
        error = assert_openai_error(post(client, **fields), 400, "unsupported_value")
        assert error["param"] == field
        assert post(client, model="fake").status_code == post(client).status_code == 200


def test_strictly_a_name_is_that_of_the_model(serve: ServiceFactory) -> None:
    with serve(strict=True) as client:
        error = assert_openai_error(post(client, model="whisper-1"), 404, "model_not_found")
        assert error["param"] == "model"
        assert_openai_error(client.get(f"{MODELS}/whisper-1"), 404, "model_not_found")
        assert client.get(f"{MODELS}/fake").json()["id"] == "fake"


def test_models(client: Client) -> None:
    listed = client.get(MODELS).json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert model == {"id": "fake", "object": "model", "created": 0, "owned_by": "dikte", "root": "fake"}
    assert client.get(f"{MODELS}/whisper-1").json() == model | {"id": "whisper-1"}
    assert outcomes(client) == {}


def test_a_model_that_cannot_translate_refuses_it(client: Client) -> None:
    error = assert_openai_error(post(client, TRANSLATIONS), 400, "unsupported_value")
    assert (error["param"], error["type"]) == ("model", "invalid_request_error")


class Translator(FakeRecognizer):
    """An engine that can translate, and only into words."""

    def check_options(self, options: Options) -> None:
        self.asked = options

    asked = Options()


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
def test_translations(serve: ServiceFactory, tmp_path: Path, response_format: str) -> None:
    engine = Translator()
    loaded = LoadedModel(fake_artifact(tmp_path), "onnx_int8", all_lanes(engine))
    with serve(load=lambda _: loaded) as client:
        answer = post(client, TRANSLATIONS, response_format=response_format, prompt="names")
        assert answer.status_code == 200
        assert engine.asked.task == "translate"
        assert engine.asked.prompt == "names"
        match response_format:
            case "json":
                assert answer.json() == {"text": "dikte dikte dikte"}
            case "verbose_json":
                assert answer.json()["language"] == "english"
                assert {*answer.json()["segments"][0]} == SEGMENT_FIELDS
            case _:
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
                assert "dikte" in answer.text


def test_options_of_a_model_that_honors_them(serve: ServiceFactory, tmp_path: Path) -> None:
    engine = Translator()
    loaded = LoadedModel(fake_artifact(tmp_path), "onnx_int8", all_lanes(engine))
    with serve(load=lambda _: loaded) as client:
        answer = post(client, language="Turkish", languages__=["tr", "English"], prompt="x" * 3000, temperature="0.5")
        assert not ignored(answer)
        asked = engine.asked
        assert (asked.language, asked.languages, asked.temperatures) == ("tr", ("tr", "en"), (0.5,))
        assert len(asked.prompt) == 2000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"response_format": "xml"}, "response_format"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "1.5"}, "temperature"),
        ({"timestamp_granularities__": ["letter"]}, "timestamp_granularities"),
        ({"language": "klingonese"}, "language"),
        ({"stream": "perhaps"}, "stream"),
    ],
)
def test_values_that_are_none(client: Client, fields: dict[str, Any], field: str) -> None:
    error = assert_openai_error(post(client, **fields), 400, "invalid_value")
    assert (error["param"], error["type"]) == (field, "invalid_request_error")


def test_values_that_are_allowed_are_told(client: Client) -> None:
    error = assert_openai_error(post(client, response_format="xml"), 400, "invalid_value")
    assert error["message"].endswith("allowed: json, text, srt, verbose_json, vtt, diarized_json")


def test_errors_in_the_file(client: Client) -> None:
    for sound, code in (
        (b"no sound", "unsupported_media"),
        (wav(speechlike(1) * 0)[:20], "invalid_audio"),
        (b"", "invalid_audio"),
    ):
        error = assert_openai_error(client.post(TRANSCRIPTIONS, files={"file": ("a.wav", sound)}), 400, code)
        assert error["param"] == "file"
    missing = client.post(TRANSCRIPTIONS, files={"sound": wav(speechlike(1))}, data={"model": "whisper-1"})
    assert assert_openai_error(missing, 400, "invalid_value")["param"] == "file"
    assert_openai_error(client.post(TRANSCRIPTIONS, content=b"RIFF"), 400, "invalid_request")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/chat/completions", "/v1/v1/audio/transcriptions"])
def test_no_such_path(client: Client, path: str) -> None:
    error = assert_openai_error(client.post(path), 404, "unknown_url")
    assert TRANSCRIPTIONS in error["message"]


def test_a_wrong_method(client: Client) -> None:
    answer = client.get(TRANSCRIPTIONS)
    assert_openai_error(answer, 405, "method_not_supported")
    assert answer.headers["allow"] == "POST"


def test_other_errors_have_the_same_shape(serve: ServiceFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(api_keys="alpha", max_upload_bytes=100_000, max_duration_s=2.5) as client:
        key = {"Authorization": "Bearer alpha"}
        files = {"file": wav(speechlike(1))}
        assert_openai_error(client.post(TRANSCRIPTIONS, files=files), 401, "invalid_api_key")
        large = client.post(TRANSCRIPTIONS, files={"file": bytes(200_000)}, headers=key)
        assert_openai_error(large, 413, "upload_too_large")
        long = client.post(TRANSCRIPTIONS, files={"file": wav(speechlike(3))}, headers=key)
        assert assert_openai_error(long, 413, "audio_too_long")["param"] == "file"
        timeout = key | {"X-Request-Timeout": "soon"}
        assert_openai_error(client.post(TRANSCRIPTIONS, files=files, headers=timeout), 400, "invalid_value")
        client.app.state.service.report_shortage("no file descriptors")
        unready = client.post(TRANSCRIPTIONS, files=files, headers=key)
        assert_openai_error(unready, 503, "not_ready")
        assert unready.headers["retry-after"] == "5"
        client.app.state.service.report_shortage(None)

        def fail(service: Service) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Service, "transcriber", property(fail))
        assert_openai_error(client.post(TRANSCRIPTIONS, files=files, headers=key), 500, "internal_error")


def test_overload_may_be_retried(serve: ServiceFactory) -> None:
    with serve(max_queue_s=5.0) as client:
        client.app.state.service.admission.close = lambda: None
        with client.app.state.service.admission.reserve() as reservation:
            reservation.charge(4.9)
            answer = post(client)
        assert_openai_error(answer, 429, "rate_limit_exceeded")
        assert int(answer.headers["retry-after"]) >= 1


def test_an_engine_that_fails(client: Client, engine: FakeRecognizer) -> None:
    engine.failure = RuntimeError("secret")
    error = assert_openai_error(post(client), 500, "engine_failure")
    assert error["type"] == "server_error"


def test_deltas_add_up_to_the_text(client: Client) -> None:
    answer = post(client, duration_s=45, stream="true")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *deltas, (name, done) = events_of(answer.text)
    assert {name for name, _ in deltas} == {"transcript.text.delta"}
    assert all(data["type"] == "transcript.text.delta" for _, data in deltas)
    assert "".join(data["delta"] for _, data in deltas) == done["text"] == " ".join([WORD] * 45)
    assert name == done["type"] == "transcript.text.done"
    assert done["usage"] == {
        "type": "tokens",
        "input_tokens": 450,
        "output_tokens": 45,
        "total_tokens": 495,
        "input_token_details": {"audio_tokens": 450, "text_tokens": 0},
    }


def test_deltas_with_logprobs(client: Client) -> None:
    events = events_of(post(client, stream="true", include__=["logprobs"]).text)
    tokens = [token["token"] for _, data in events[:-1] for token in data["logprobs"]]
    assert tokens == [token["token"] for token in events[-1][1]["logprobs"]] == [WORD, f" {WORD}", f" {WORD}"]


def test_diarized_deltas_have_segments(client: Client) -> None:
    events = events_of(post(client, stream="true", response_format="diarized_json").text)
    assert [name for name, _ in events] == ["transcript.text.delta", "transcript.text.segment"] * 3 + [
        "transcript.text.done"
    ]
    for delta, segment in zip(events[0:6:2], events[1:6:2], strict=True):
        assert delta[1]["segment_id"] == segment[1]["id"]
        assert delta[1]["delta"].strip() == segment[1]["text"].strip()
        assert segment[1]["speaker"] == "A"


@pytest.mark.parametrize(
    "fields", [{}, {"include__": "logprobs"}, {"response_format": "verbose_json"}, {"response_format": "diarized_json"}]
)
def test_answers_are_as_openapi_says(client: Client, fields: dict[str, str]) -> None:
    description = client.get("/openapi.json").json()
    schema = description["paths"][TRANSCRIPTIONS]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    number = {"json": 0, "verbose_json": 1, "diarized_json": 2}[fields.get("response_format", "json")]
    assert_conforms(post(client, **fields).json(), schema["anyOf"][number], description["components"]["schemas"])


def test_openapi_names_every_field_and_error(client: Client) -> None:
    operation = client.get("/openapi.json").json()["paths"][TRANSCRIPTIONS]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {
        "file", "model", "prompt", "response_format", "temperature", "language", "languages[]",
        "timestamp_granularities[]", "include[]", "chunking_strategy[]", "stream", "channels", "keywords[]",
        "known_speaker_names[]", "known_speaker_references[]",
    }  # fmt: skip
    assert schema["additionalProperties"] is True
    assert {"400", "401", "404", "413", "429", "500", "503", "504"} <= set(operation["responses"])
    for status, response in operation["responses"].items():
        if status != "200":
            for example in response["content"]["application/json"]["examples"].values():
                assert (
                    {"message", "type", "code"}
                    <= set(example["value"]["error"])
                    <= {"message", "type", "param", "code"}
                )


def test_the_confidence_of_words_is_that_of_their_letters() -> None:
    """What `test_json_with_logprobs` computes with."""
    assert CERTAINTY == 0.94


def test_an_option_that_is_no_field_is_no_reason_to_refuse(serve: ServiceFactory, tmp_path: Path) -> None:
    class Picky(FakeRecognizer):
        def check_options(self, options: Options) -> None:
            if options.segment_times:
                raise InvalidParameter("no times")

    loaded = LoadedModel(fake_artifact(tmp_path), "onnx_int8", all_lanes(Picky()))
    with serve(load=lambda _: loaded) as client:
        assert not ignored(post(client, response_format="srt"))
