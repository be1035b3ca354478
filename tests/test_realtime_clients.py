"""OpenAI's client for Python, unmodified, in transcription sessions with a real service process and its model."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
import soxr
from openai.resources.realtime.realtime import RealtimeConnection
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving
from tests.test_openai_clients import CALL, KEY, TEXT

pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # openai-python calls websockets so

PIECE_S = 0.1
SILENCE_S = 1.0
COMPLETED = "conversation.item.input_audio_transcription.completed"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), ASR_API_KEYS=KEY) as (url, _):
        wait_until_ready(url)
        yield url


@pytest.fixture
def connection(url: str) -> Iterator[RealtimeConnection]:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        assert connection.recv().type == "session.created"
        yield connection


def spoken(path: Path, rate_hz: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The samples of a file and a pause, shape (samples,), int16, at `rate_hz`."""
    samples, from_hz = soundfile.read(path, dtype="float32")
    samples = soxr.resample(samples, from_hz, rate_hz)
    samples = np.concatenate([samples, np.zeros(int(SILENCE_S * rate_hz), dtype=np.float32)])
    scaled: np.ndarray[Any, np.dtype[np.int16]] = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return scaled


def pcm(path: Path) -> tuple[bytes, int]:
    """What a client sends of a file as PCM at 24 kHz, and the bytes of a second."""
    return spoken(path, 24_000).tobytes(), 48_000


def mulaw(path: Path) -> tuple[bytes, int]:
    """What a client sends of a file as mu-law at 8 kHz (ITU-T G.711), and the bytes of a second."""
    samples = spoken(path, 8000).astype(np.int32)
    magnitude = np.minimum(np.abs(samples), 32_635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    codes = (np.where(samples < 0, 0x80, 0) | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) ^ 0xFF
    return codes.astype(np.uint8).tobytes(), 8000


def say(connection: RealtimeConnection, sound: bytes, bytes_per_s: int) -> None:
    step = int(PIECE_S * bytes_per_s)
    for start in range(0, len(sound), step):
        connection.input_audio_buffer.append(audio=base64.b64encode(sound[start : start + step]).decode())


def until(connection: RealtimeConnection, kind: str) -> list[Any]:
    """The events up to the first of this type."""
    events: list[Any] = []
    while not events or events[-1].type != kind:
        events.append(connection.recv())
        assert events[-1].type != "error" or kind == "error", events[-1]
    return events


def configure(connection: RealtimeConnection, **given: Any) -> Any:
    session: Any = {"type": "transcription", "audio": {"input": given}}
    connection.session.update(session=session)
    return until(connection, "session.updated")[-1].session


FORMATS: dict[str, tuple[Any, Callable[[Path], tuple[bytes, int]]]] = {
    "pcm": ({"type": "audio/pcm", "rate": 24_000}, pcm),
    "mu-law": ({"type": "audio/pcmu"}, mulaw),
}


@pytest.mark.parametrize("name", FORMATS)
def test_utterances_end_at_pauses(connection: RealtimeConnection, name: str) -> None:
    form, encode = FORMATS[name]
    detection = {"type": "server_vad", "silence_duration_ms": 700}
    session = configure(connection, format=form, transcription={"model": "gpt-4o-transcribe"}, turn_detection=detection)
    assert session.audio.input.format.type == form["type"]
    assert session.audio.input.transcription.language == "tr"
    say(connection, *encode(CALL))
    events = until(connection, COMPLETED)
    kinds = [event.type for event in events]
    words = events[-1].transcript.split()
    assert len(set(words) & set(TEXT.split())) >= 0.8 * len(set(TEXT.split()))
    assert kinds[0] == "input_audio_buffer.speech_started"
    order = ["speech_started", "speech_stopped", "committed"]
    assert [kind.removeprefix("input_audio_buffer.") for kind in kinds if kind.startswith("input_audio")] == order
    assert len({event.item_id for event in events if hasattr(event, "item_id")}) == 1
    assert events[-1].usage.type == "duration"
    assert 6 < events[-1].usage.seconds < 9


def test_the_client_commits(connection: RealtimeConnection) -> None:
    assert configure(connection, turn_detection=None).audio.input.turn_detection is None
    say(connection, *pcm(CALL))
    connection.input_audio_buffer.commit()
    events = until(connection, COMPLETED)
    assert events[-1].transcript == TEXT
    assert not any("speech_" in event.type for event in events)
    deltas = [event.delta for event in events if event.type.endswith(".delta")]
    assert "".join(deltas) == TEXT
    first = events[-1].item_id
    say(connection, *pcm(CALL))
    connection.input_audio_buffer.commit()
    events = until(connection, COMPLETED)
    assert events[-1].transcript == TEXT
    (committed,) = (event for event in events if event.type == "input_audio_buffer.committed")
    assert (committed.previous_item_id, committed.item_id) == (first, events[-1].item_id)


def test_logprobs(connection: RealtimeConnection) -> None:
    include: Any = ["item.input_audio_transcription.logprobs"]
    connection.session.update(session={"type": "transcription", "include": include})
    assert until(connection, "session.updated")[-1].session.include == include
    say(connection, *pcm(CALL))
    done = until(connection, COMPLETED)[-1]
    assert "".join(token.token for token in done.logprobs) == done.transcript
    assert all(token.logprob <= 0 for token in done.logprobs)


def test_errors_do_not_end_it(connection: RealtimeConnection) -> None:
    connection.input_audio_buffer.commit(event_id="mine")
    error = until(connection, "error")[-1].error
    assert (error.code, error.event_id) == ("input_audio_buffer_commit_empty", "mine")
    connection.send({"type": "response.create"})
    assert until(connection, "error")[-1].error.param == "type"
    configure(connection, turn_detection=None)
    say(connection, *pcm(CALL))
    connection.input_audio_buffer.commit()
    assert until(connection, COMPLETED)[-1].transcript == TEXT


def test_what_was_cleared_is_not_transcribed(connection: RealtimeConnection) -> None:
    configure(connection, turn_detection=None)
    say(connection, *pcm(CALL))
    connection.input_audio_buffer.clear()
    until(connection, "input_audio_buffer.cleared")
    say(connection, *pcm(CALL))
    connection.input_audio_buffer.commit()
    assert until(connection, COMPLETED)[-1].transcript == TEXT


def test_a_browser_sends_its_key_in_a_subprotocol(url: str) -> None:
    address = f"{url.replace('http', 'ws', 1)}/v1/realtime?intent=transcription"
    names = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{KEY}")]
    with connect(address, subprotocols=names) as socket:
        assert socket.subprotocol == "realtime"
        assert "session.created" in str(socket.recv())
    unknown = [names[0], Subprotocol("openai-insecure-api-key.beta")]
    with pytest.raises(InvalidStatus) as refused, connect(address, subprotocols=unknown):
        pass
    assert refused.value.response.status_code == 401
