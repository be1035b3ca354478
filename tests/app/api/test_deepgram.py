import json

import pytest

from tests.conftest import Client, ServiceFactory, assert_deepgram_error
from tests.sounds import ENCODINGS, speechlike, two_sides, wav

PATH = "/v1/listen"


def test_the_body_is_the_file(client: Client) -> None:
    answer = client.post(f"{PATH}?model=nova-3&smart_format=true", content=wav(speechlike(3)))
    body = answer.json()
    (channel,) = body["results"]["channels"]
    (alternative,) = channel["alternatives"]
    assert alternative["transcript"] == "dikte dikte dikte"
    assert [word["word"] for word in alternative["words"]] == ["dikte"] * 3
    assert "utterances" not in body["results"]
    metadata = body["metadata"]
    assert (metadata["duration"], metadata["channels"]) == (3.0, 1)
    assert metadata["request_id"] == answer.headers["x-request-id"]
    assert metadata["models"] == list(metadata["model_info"])


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("wav s16", "encoding=linear16&sample_rate=16000"),
        ("wav s32", "encoding=linear32&sample_rate=16000"),
        ("wav mu-law 8 kHz", "encoding=mulaw&sample_rate=8000"),
        ("wav a-law 8 kHz", "encoding=alaw&sample_rate=8000"),
    ],
)
def test_audio_without_a_header(client: Client, name: str, query: str) -> None:
    data = ENCODINGS[name](speechlike(3), 16_000)
    bare = data[data.index(b"data") + 8 :]
    body = client.post(f"{PATH}?{query}", content=bare).json()
    assert body["results"]["channels"][0]["alternatives"][0]["transcript"] == "dikte dikte dikte"
    assert body["metadata"]["duration"] == pytest.approx(3.0, abs=0.001)


def test_channels_and_utterances(client: Client) -> None:
    body = client.post(f"{PATH}?multichannel=true&utterances=true", content=two_sides(4.0)).json()
    assert body["metadata"]["channels"] == 2
    left, right = (channel["alternatives"][0] for channel in body["results"]["channels"])
    assert [word["start"] for word in left["words"]] == pytest.approx([0.3, 2.3])
    assert [word["start"] for word in right["words"]] == pytest.approx([1.3, 3.3])
    assert [part["channel"] for part in body["results"]["utterances"]] == [0, 1, 0, 1]


def test_without_multichannel_they_are_mixed(client: Client) -> None:
    assert client.post(PATH, content=two_sides(4.0)).json()["metadata"]["channels"] == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("keyterm=DikTe", "DikTe DikTe"),
        ("keyterm=Ket&keyterm=DikTe%20DikTe", "DikTe DikTe"),
        ("keyterm=Tikte", "Tikte Tikte"),
        ("keywords=Tikte:0.5", "dikte dikte"),
        ("keywords=Ket&keywords=DikTe:1.5", "DikTe DikTe"),
        ("keyterm=&keywords=", "dikte dikte"),
    ],
)
def test_keywords(serve: ServiceFactory, query: str, expected: str) -> None:
    with serve(strict=True) as client:
        body = client.post(f"{PATH}?{query}", content=wav(speechlike(2))).json()
        assert body["results"]["channels"][0]["alternatives"][0]["transcript"] == expected


@pytest.mark.parametrize("name", ["keyterm", "keywords"])
@pytest.mark.parametrize(
    ("entry", "message"), [("Zeynep", "'Zeynep'"), ("Dikte:-1", "'Dikte:-1'"), ("Dikte:9", "at most 5")]
)
def test_what_is_no_keyword_is_refused(client: Client, name: str, entry: str, message: str) -> None:
    answer = client.post(f"{PATH}?{name}={entry}", content=wav(speechlike(1)))
    assert message in assert_deepgram_error(answer, 400, "INVALID_QUERY_PARAMETER")


def test_addresses_are_not_fetched(client: Client) -> None:
    answer = client.post(
        PATH,
        content=json.dumps({"url": "http://example.org/a.wav"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert "fetches no audio" in assert_deepgram_error(answer, 400, "INVALID_REQUEST")


def test_errors_are_those_that_its_clients_read(client: Client) -> None:
    assert_deepgram_error(client.post(PATH, content=b"no sound at all, but a text"), 400, "Bad Request")
    assert_deepgram_error(client.post(PATH, content=b""), 400, "INVALID_REQUEST")
    assert_deepgram_error(client.post(f"{PATH}?channels=x", content=b"a"), 400, "INVALID_QUERY_PARAMETER")
    assert_deepgram_error(client.post(f"{PATH}/other", content=b"a"), 404, "NOT_FOUND")


def test_limits_hold(serve: ServiceFactory) -> None:
    with serve(max_upload_bytes=1000) as client:
        assert_deepgram_error(client.post(PATH, content=wav(speechlike(1))), 413, "UPLOAD_TOO_LARGE")
    with serve(strict=True) as client:
        sound = wav(speechlike(1))
        assert_deepgram_error(client.post(f"{PATH}?diarize=true", content=sound), 400, "UNSUPPORTED_VALUE")
        assert_deepgram_error(client.post(f"{PATH}?model=nova-3", content=sound), 404, "MODEL_NOT_FOUND")
        assert client.post(f"{PATH}?model=fake&punctuate=true", content=sound).status_code == 200
