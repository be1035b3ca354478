import gc
import io
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import numpy as np
import pytest
import srt
import webvtt
from numpy.typing import NDArray

from app.audio import AudioLimits, Waveform
from tests.conftest import Client, Connection, ServiceFactory, assert_conforms, assert_error
from tests.fakes import CERTAINTY, PATIENCE_S, WORD, WORD_END_S, WORD_START_S, FakeRecognizer
from tests.sounds import ENCODINGS, MODEL_HZ, by_sndfile, speechlike, two_sides, wav

ROUNDING_S = 0.001


def post(client: Client, sound: bytes, **fields: str) -> httpx.Response:
    return client.post("/transcribe", files={"file": ("sound.bin", sound)}, data=fields)


def clip(duration_s: float) -> bytes:
    return wav(speechlike(duration_s))


def test_json(client: Client) -> None:
    body = post(client, clip(3)).json()
    timings = body.pop("timings")
    assert body == {
        "text": "dikte dikte dikte",
        "inference_time": timings["inference"],
        "duration": 3.0,
        "model": "fake",
        "backend": "onnx_int8",
        "confidence": pytest.approx(CERTAINTY, abs=1e-4),
    }
    assert set(timings) == {"decode", "queue", "inference", "total"}
    assert timings["total"] >= timings["decode"] > 0


def test_words_have_times_also_across_windows(client: Client) -> None:
    body = post(client, clip(45), timestamps="word").json()
    assert body["text"].split() == [word["word"] for word in body["words"]] == [WORD] * 45
    starts, ends = ([word[edge] for word in body["words"]] for edge in ("start", "end"))
    assert starts == pytest.approx(np.arange(45) + WORD_START_S, abs=ROUNDING_S)
    assert ends == pytest.approx(np.arange(45) + WORD_END_S, abs=ROUNDING_S)
    assert [word["confidence"] for word in body["words"]] == pytest.approx([CERTAINTY] * 45, abs=1e-4)


def test_no_words_unless_asked_for(client: Client) -> None:
    assert "words" not in post(client, clip(1), timestamps="none").json()


def test_text(client: Client) -> None:
    answer = post(client, clip(2), response_format="text")
    assert (answer.text, answer.headers["content-type"]) == ("dikte dikte\n", "text/plain; charset=utf-8")


def test_srt_is_read_by_a_foreign_parser(client: Client) -> None:
    answer = post(client, clip(30), response_format="srt")
    assert answer.headers["content-type"].startswith("application/x-subrip")
    subtitles = list(srt.parse(answer.text))
    assert [subtitle.index for subtitle in subtitles] == list(range(1, len(subtitles) + 1))
    spans = [(subtitle.start.total_seconds(), subtitle.end.total_seconds()) for subtitle in subtitles]
    assert_subtitles(spans, [subtitle.content for subtitle in subtitles])


def test_vtt_is_read_by_a_foreign_parser(client: Client) -> None:
    answer = post(client, clip(30), response_format="vtt")
    assert answer.headers["content-type"] == "text/vtt; charset=utf-8"
    captions = webvtt.from_string(answer.text).captions
    spans = [(seconds(caption.start), seconds(caption.end)) for caption in captions]
    assert_subtitles(spans, [caption.text for caption in captions])


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def assert_subtitles(spans: Sequence[tuple[float, float]], texts: list[str]) -> None:
    """Thirty seconds of words, in order, none of the subtitles longer than 7 s or over another."""
    assert " ".join(texts) == " ".join([WORD] * 30)
    assert len(texts) > 4
    assert spans[0][0] == pytest.approx(WORD_START_S, abs=ROUNDING_S)
    assert spans[-1][1] == pytest.approx(29 + WORD_END_S, abs=ROUNDING_S)
    assert all(start <= end <= start + 7 for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("response_format", ["srt", "vtt"])
def test_subtitles_of_silence(client: Client, response_format: str) -> None:
    answer = post(client, wav(np.zeros(16_000)), response_format=response_format)
    assert (answer.status_code, answer.text) == (200, {"srt": "", "vtt": "WEBVTT\n\n"}[response_format])


@pytest.mark.parametrize(
    "encoding", ["m4a, moov last", "webm opus, live", "3gp amr", "ogg opus", "mp3", "wav mu-law 8 kHz"]
)
def test_what_phones_and_browsers_send(client: Client, encoding: str) -> None:
    sound = ENCODINGS[encoding](speechlike(2.0), MODEL_HZ)
    body = post(client, sound).json()
    assert body["text"].startswith("dikte dikte")
    assert body["duration"] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (np.zeros(32_000), ""),
        (np.ones(32_000), "dikte dikte"),
        (np.random.default_rng(0).uniform(-1, 1, 32_000), "dikte dikte"),
        (np.ones(1), ""),
        (np.ones(399), ""),
    ],
    ids=["silence", "full-scale DC", "noise", "one sample", "less than a frame"],
)
def test_sound_without_speech(client: Client, samples: NDArray[Any], text: str) -> None:
    answer = post(client, wav(samples))
    assert answer.status_code == 200
    body = answer.json()
    assert (body["text"], body["confidence"] is None) == (text, text == "")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sound.wav", wav(speechlike(0.1)))
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"This is no sound.\n" * 100, _zip(), b"\x89PNG\r\n\x1a\n" + bytes(500), b"\x7fELF\x02\x01" + bytes(500)],
    ids=["text", "zip", "png", "elf"],
)
def test_what_is_no_sound(client: Client, data: bytes) -> None:
    assert "wav" in assert_error(post(client, data), 415, "unsupported_media")["supported"]


@pytest.mark.parametrize(
    "data",
    [
        wav(np.zeros(0)),
        wav(np.zeros((100, 9))),
        wav(np.array([0.0, np.nan]), subtype="FLOAT"),
        wav(speechlike(1), 500),
        b"fLaC" + bytes(100),
    ],
    ids=["no samples", "nine channels", "nan", "500 Hz", "broken"],
)
def test_broken_sound(client: Client, data: bytes) -> None:
    assert_error(post(client, data), 400, "invalid_audio")


def test_limits_of_sound_come_from_the_settings(serve: ServiceFactory) -> None:
    with serve(max_duration_s=2.5) as client:
        assert post(client, clip(2)).status_code == 200
        assert assert_error(post(client, clip(3)), 413, "audio_too_long")["max_duration_s"] == 2.5
        bomb = by_sndfile(np.zeros(16_000 * 1000), 16_000, "FLAC", "PCM_16")
        assert_error(post(client, bomb), 413, "audio_too_long")
    with serve(max_decoded_bytes=40_000, max_channels=1) as client:
        assert_error(post(client, clip(1)), 413, "audio_too_long")
        assert_error(post(client, wav(np.zeros((100, 2)))), 400, "invalid_audio")


def test_more_than_the_queue_takes_is_refused_and_what_was_accepted_is_answered(
    serve: ServiceFactory, engine: FakeRecognizer
) -> None:
    with serve(max_queue_s=5) as client, ThreadPoolExecutor() as pool:
        engine.gate.clear()
        try:
            accepted = pool.submit(post, client, clip(3))
            assert engine.at_work.wait(PATIENCE_S)
            refused = post(client, clip(3))
            assert client.get("/livez").status_code == 200
        finally:
            engine.gate.set()
        assert assert_error(refused, 429, "overloaded")["queued_s"] == 3.0
        assert int(refused.headers["retry-after"]) >= 1
        assert accepted.result().json()["text"] == "dikte dikte dikte"
        assert post(client, clip(3)).status_code == 200


def test_what_is_not_answered_in_time_is_dropped(serve: ServiceFactory, engine: FakeRecognizer) -> None:
    with serve(deadline_s=0.2) as client:
        engine.gate.clear()
        late = assert_error(post(client, clip(1)), 504, "deadline_exceeded")
        assert late["deadline_s"] == 0.2
        admission = client.app.state.service.admission
        assert (admission.requests, admission.queued_s) == (0, 0)
        engine.gate.set()
        assert post(client, clip(1)).status_code == 200


@pytest.mark.parametrize(("header", "deadline_s"), [("0.1", 0.1), ("1e9", 0.3), ("inf", 0.3)])
def test_a_client_may_shorten_its_deadline(
    serve: ServiceFactory, engine: FakeRecognizer, header: str, deadline_s: float
) -> None:
    with serve(deadline_s=0.3) as client:
        engine.gate.clear()
        answer = client.post("/transcribe", files={"file": clip(1)}, headers={"X-Request-Timeout": header})
        engine.gate.set()
        assert assert_error(answer, 504, "deadline_exceeded")["deadline_s"] == deadline_s


@pytest.mark.parametrize("header", ["0", "-1", "nan", "soon", "1,5", ""])
def test_a_deadline_that_is_none(client: Client, header: str) -> None:
    answer = client.post("/transcribe", files={"file": clip(1)}, headers={"X-Request-Timeout": header})
    assert assert_error(answer, 422, "invalid_parameter")["field"] == "X-Request-Timeout"


def test_what_could_not_be_answered_in_time_is_refused_at_once(serve: ServiceFactory, engine: FakeRecognizer) -> None:
    """The fake computes thousands of seconds in one, so the queue has to be long: an hour that one client waits for."""
    with serve(max_queue_s=1e6) as client, ThreadPoolExecutor() as pool:
        engine.gate.clear()
        try:
            accepted = [pool.submit(post, client, clip(19)) for _ in range(3)]
            while client.app.state.service.admission.queued_s < 57 or not engine.at_work.is_set():
                pass
            answer = client.post("/transcribe", files={"file": clip(1)}, headers={"X-Request-Timeout": "0.000001"})
        finally:
            engine.gate.set()
        assert_error(answer, 429, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert [future.result().status_code for future in accepted] == [200, 200, 200]


@pytest.mark.parametrize("place", ["queue", "engine"])
def test_a_client_that_leaves_frees_its_place(client: Client, engine: FakeRecognizer, place: str) -> None:
    admission = client.app.state.service.admission
    engine.gate.clear()
    try:
        busy = [leaving_client(client) for _ in range(5 if place == "queue" else 1)]
        assert engine.at_work.wait(PATIENCE_S)
        while admission.queued_s < 3 * len(busy):
            pass
        for connection in reversed(busy):
            connection.leave()
            assert connection.status() == 499
        assert (admission.requests, admission.queued_s) == (0, 0)
    finally:
        engine.gate.set()
    assert post(client, clip(3)).json()["text"] == "dikte dikte dikte"


def leaving_client(client: Client) -> Connection:
    request = httpx.Request("POST", "http://dikte/transcribe", files={"file": clip(3)})
    connection = Connection(client, dict(request.headers))
    connection.send(request.read(), more=False)
    return connection


def test_a_client_that_leaves_while_its_file_is_decoded_ends_the_decoding(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, left = threading.Event(), threading.Event()
    blocks: list[float] = []

    def slowly(
        file: BinaryIO, rate_hz: int, limits: AudioLimits, mode: str, meter: Callable[[float], object]
    ) -> list[Waveform]:
        while len(blocks) < 1000:
            meter(1.0)
            blocks.append(1.0)
            begun.set()
            assert left.wait(PATIENCE_S)
        raise AssertionError("decoded to the end, for nobody")

    monkeypatch.setattr("app.transcriber.decode_channels", slowly)
    leaving = leaving_client(client)
    assert begun.wait(PATIENCE_S)
    leaving.leave()
    time.sleep(0.05)  # until the service has seen it
    left.set()
    assert leaving.status() == 499
    assert len(blocks) < 1000
    assert client.app.state.service.admission.queued_s == 0


def test_clips_leave_nothing_in_memory(client: Client) -> None:
    """Neither sound nor emissions of clips that were answered are kept anywhere, by worker threads for example."""
    clips = [clip(float(duration_s)) for duration_s in np.random.default_rng(0).integers(1, 40, 10)]

    def transcribe_some() -> None:
        for sound in clips:
            assert post(client, sound).status_code == 200
        gc.collect()

    transcribe_some()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        transcribe_some()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before > 2_000_000  # a clip of 40 s has 2.6 MB of samples
    assert after - before < 300_000


def test_an_engine_that_fails_fails_that_request_only(client: Client, engine: FakeRecognizer) -> None:
    engine.failure = RuntimeError("/srv/secret/path is broken")
    assert "secret" not in str(assert_error(post(client, clip(1)), 500, "engine_failure"))
    engine.failure = None
    assert post(client, clip(1)).status_code == 200


@pytest.mark.parametrize("fields", [{}, {"timestamps": "word"}])
@pytest.mark.parametrize("sound", [clip(2), wav(np.zeros(16_000))], ids=["speech", "silence"])
def test_answers_are_as_openapi_says(client: Client, sound: bytes, fields: dict[str, str]) -> None:
    description = client.get("/openapi.json").json()
    schema = description["paths"]["/transcribe"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_conforms(post(client, sound, **fields).json(), schema, description["components"]["schemas"])


def test_openapi_describes_the_form(client: Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/transcribe"]["post"]
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["file"]
    assert schema["properties"]["file"]["format"] == "binary"
    for name in ("timestamps", "response_format"):
        for value in schema["properties"][name]["enum"]:
            assert post(client, clip(1), **{name: value}).status_code == 200


def test_the_three_numbers_of_subtitles_are_fields_and_settings(serve: ServiceFactory) -> None:
    def longest(text: str) -> int:
        return max(len(line) for subtitle in srt.parse(text) for line in subtitle.content.split("\n"))

    def shortest_s(text: str) -> float:
        return float(min((subtitle.end - subtitle.start).total_seconds() for subtitle in srt.parse(text)))

    with serve(subtitle_min_s=3.0) as client:
        assert shortest_s(post(client, clip(30), response_format="srt").text) == pytest.approx(3.0, abs=ROUNDING_S)
        fields = {"subtitle_min_s": "0.5", "subtitle_line_characters": "10", "subtitle_characters_per_s": "8"}
        answer = post(client, clip(30), response_format="srt", **fields)
        assert longest(answer.text) <= 10
        assert shortest_s(answer.text) == pytest.approx(5 / 8, abs=ROUNDING_S)
        assert_error(post(client, clip(1), subtitle_min_s="0"), 422, "invalid_parameter")


def test_a_temperature_of_a_model_without_one_is_ignored_or_strictly_refused(serve: ServiceFactory) -> None:
    with serve() as client:
        assert post(client, clip(1), temperature="0.5").json()["text"] == WORD
        assert_error(post(client, clip(1), prompt="names"), 422, "invalid_parameter")
    with serve(strict=True) as client:
        assert_error(post(client, clip(1), temperature="0.5"), 422, "invalid_parameter")


@pytest.mark.parametrize("channels", ["", "auto", "separate"])
def test_the_sides_of_a_call_are_transcribed_separately(client: Client, channels: str) -> None:
    body = post(client, two_sides(), channels=channels, timestamps="word").json()
    assert body["duration"] == 10.0
    assert body["text"].split() == [WORD] * 10
    assert [(word["speaker"], word["channel"]) for word in body["words"]] == [("A", 0), ("B", 1)] * 5
    assert [word["start"] for word in body["words"]] == pytest.approx(np.arange(10) + WORD_START_S, abs=ROUNDING_S)
    segment = {"text": WORD, "start": WORD_START_S, "end": WORD_END_S, "confidence": pytest.approx(CERTAINTY, abs=1e-4)}
    assert body["segments"][0] == {**segment, "channel": 0, "speaker": "A"}
    starts = [segment["start"] for segment in body["segments"]]
    assert starts == sorted(starts)


def test_mixed_channels_have_no_speakers(client: Client) -> None:
    body = post(client, two_sides(), channels="mix", timestamps="word").json()
    assert "segments" not in body
    assert not {"channel", "speaker"} & set(body["words"][0])


def test_the_settings_say_what_becomes_of_channels(serve: ServiceFactory) -> None:
    with serve(channels="mix") as client:
        assert "segments" not in post(client, two_sides()).json()
        assert "segments" in post(client, two_sides(), channels="auto").json()


def test_speakers_are_named_in_text_and_subtitles(client: Client) -> None:
    sound = two_sides(4.0)
    assert post(client, sound, response_format="text").text == "A: dikte\nB: dikte\nA: dikte\nB: dikte\n"
    subtitles = srt.parse(post(client, sound, response_format="srt").text)
    assert [subtitle.content for subtitle in subtitles] == ["A: dikte", "B: dikte"] * 2
    captions = webvtt.from_string(post(client, sound, response_format="vtt").text).captions
    assert [(caption.voice, caption.text) for caption in captions] == [("A", "dikte"), ("B", "dikte")] * 2


def test_too_many_channels_to_separate(serve: ServiceFactory) -> None:
    with serve(max_channels=16) as client:
        sound = wav(np.tile(speechlike(0.2)[:, np.newaxis], 9))
        assert assert_error(post(client, sound, channels="separate"), 400, "invalid_audio")["channels"] == 9
        assert_error(post(client, sound, channels="split"), 422, "invalid_parameter")


def test_both_channels_count_against_the_queue(serve: ServiceFactory, engine: FakeRecognizer) -> None:
    """Beside another request, a call of ten seconds does not fit into a queue that has room for ten."""
    with serve(max_queue_s=15.0) as client, ThreadPoolExecutor() as pool:
        engine.gate.clear()
        other = pool.submit(post, client, clip(1.0))
        assert engine.at_work.wait(PATIENCE_S)
        assert_error(post(client, two_sides(10.0)), 429, "overloaded")
        waiting = pool.submit(post, client, two_sides(10.0), channels="mix")
        engine.gate.set()
        assert (other.result().status_code, waiting.result().status_code) == (200, 200)


def text_with(client: Client, **fields: Any) -> str:
    answer = client.post("/transcribe", files={"file": ("sound.bin", clip(2))}, data=fields)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ("DikTe", "DikTe DikTe"),
        (["Ket", "DikTe"], "DikTe DikTe"),
        ("Ket, DikTe\nEdi", "DikTe DikTe"),
        ("Yazılım=dikte:2", "Yazılım Yazılım"),
    ],
)
def test_keywords_are_written_as_they_were_sent(client: Client, keywords: str | list[str], expected: str) -> None:
    assert text_with(client, keywords=keywords) == expected
    assert text_with(client) == "dikte dikte", "no request has the keywords of another"


def test_the_boost_says_how_easily_keywords_are_found(serve: ServiceFactory) -> None:
    """One letter of `Tikte` was not heard."""
    with serve() as client:
        assert text_with(client, keywords="Tikte") == "Tikte Tikte"
        assert text_with(client, keywords="Tikte:0.5") == "dikte dikte"
        assert text_with(client, keywords="Tikte", keywords_boost="0.5") == "dikte dikte"
        assert text_with(client, keywords="Tikte:0.5", keywords_boost="2") == "Tikte Tikte"
    with serve(keywords_boost=0.5) as client:
        assert text_with(client, keywords="Tikte") == "dikte dikte"
        assert text_with(client, keywords="Tikte", keywords_boost="1") == "Tikte Tikte"


def test_keywords_of_the_settings_and_of_their_file(serve: ServiceFactory, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# names\nTikte:0.5\n", encoding="utf-8")
    with serve(keywords="DikTe", keywords_file=file) as client:
        assert text_with(client) == "DikTe DikTe"
        assert text_with(client, keywords="Ket") == "DikTe DikTe", "a request adds to them"
        assert text_with(client, keywords="DikTe:0.01, Tikte") == "Tikte Tikte", "its boosts count"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keywords": "Zeynep"}, "no letter for 'z' of the keyword 'Zeynep'"),
        ({"keywords": "Dikte:9"}, "the boost of 'Dikte:9' must be above 0, and at most 5"),
        ({"keywords": "Dikte, ..."}, "the keyword '...' has no letters"),
        ({"keywords": "dikte" * 21}, "longer than 100 characters"),
        ({"keywords": ",".join("d" * (1 + place % 25) + "i" * (place // 25) for place in range(501))}, "500 is the"),
        ({"keywords_boost": "0"}, "keywords_boost cannot be '0'"),
        ({"keywords_boost": "5.1"}, "keywords_boost cannot be '5.1'"),
    ],
)
def test_what_is_no_keyword_is_refused(client: Client, fields: dict[str, str], message: str) -> None:
    error = assert_error(post(client, clip(1), **fields), 422, "invalid_parameter")
    assert error["field"] == next(iter(fields))
    assert message in error["message"]
