"""Deepgram's own client for Python, unmodified, on a real service process with the bundled model."""

import asyncio
import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from deepgram import AsyncDeepgramClient, DeepgramClient
from deepgram.core.api_error import ApiError
from deepgram.environment import DeepgramClientEnvironment

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
CALL = SAMPLES / "call.wav"
TEXT = "iyi günler geçen ayki faturam hakkında bilgi almak istiyorum müşteri numaram beş sekiz iki dört"
KEY = "alpha"
pytestmark = [
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),  # what the client imports
    pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning"),  # it closes nothing
]


@pytest.fixture(scope="module")
def sockets() -> Iterator[None]:
    """Collects the sockets that the clients leave open here, where their warning is ignored, not in a later test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def environment(sockets: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeepgramClientEnvironment]:
    with serving(tmp_path_factory.mktemp("service"), ASR_API_KEYS=KEY) as (url, _):
        wait_until_ready(url)
        socket = url.replace("http", "ws")
        yield DeepgramClientEnvironment(base=url, production=socket, agent=socket, agent_rest=url)


@pytest.fixture(scope="module")
def client(environment: DeepgramClientEnvironment) -> DeepgramClient:
    return DeepgramClient(api_key=KEY, environment=environment)


def read(path: Path, rate_hz: int, subtype: str) -> bytes:
    """The samples of a clip without a header, and a second of silence."""
    samples, from_hz = soundfile.read(path, dtype="float32")
    samples = np.concatenate([soxr.resample(samples, from_hz, rate_hz), np.zeros(rate_hz, dtype=np.float32)])
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="RAW", subtype=subtype)
    return file.getvalue()


def finals(messages: list[Any]) -> str:
    texts = [part.channel.alternatives[0].transcript for part in messages if part.type == "Results" and part.is_final]
    return " ".join(filter(None, texts))


def test_a_file(client: DeepgramClient) -> None:
    answer: Any = client.listen.v1.media.transcribe_file(
        request=CALL.read_bytes(), model="nova-3", smart_format=True, utterances=True, language="tr"
    )
    (channel,) = answer.results.channels
    assert channel.alternatives[0].transcript == TEXT
    assert [word.word for word in channel.alternatives[0].words] == TEXT.split()
    assert " ".join(part.transcript for part in answer.results.utterances) == TEXT
    assert answer.metadata.duration == pytest.approx(8.039, abs=0.01)


def test_an_address_and_a_wrong_key_are_errors_that_it_knows(
    client: DeepgramClient, environment: DeepgramClientEnvironment
) -> None:
    with pytest.raises(ApiError) as refused:
        client.listen.v1.media.transcribe_url(url="https://example.org/a.wav", model="nova-3")
    assert refused.value.status_code == 400
    with pytest.raises(ApiError) as unknown:
        DeepgramClient(api_key="beta", environment=environment).listen.v1.media.transcribe_file(
            request=CALL.read_bytes(), model="nova-3"
        )
    assert unknown.value.status_code == 401


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "subtype"),
    [("linear16", 16_000, "PCM_16"), ("linear16", 48_000, "PCM_16"), ("mulaw", 8_000, "ULAW")],
)
def test_a_stream(client: DeepgramClient, encoding: Any, rate_hz: int, subtype: str) -> None:
    data = read(CALL, rate_hz, subtype)
    with client.listen.v1.connect(
        model="nova-3",
        language="tr",
        encoding=encoding,
        sample_rate=rate_hz,
        interim_results=True,
        vad_events=True,
        utterance_end_ms=1000,
        endpointing=300,
    ) as socket:
        for start in range(0, len(data), 4000):
            socket.send_media(data[start : start + 4000])
        socket.send_keep_alive()
        socket.send_finalize()
        socket.send_close_stream()
        messages: list[Any] = list(socket)
    if encoding == "linear16":
        assert finals(messages) == TEXT
    else:
        assert len(set(finals(messages).split()) & set(TEXT.split())) > 10
    kinds = {message.type for message in messages}
    assert {"SpeechStarted", "Results", "Metadata"} <= kinds
    assert any(message.from_finalize for message in messages if message.type == "Results")


def test_a_container_asynchronously(environment: DeepgramClientEnvironment) -> None:
    async def run() -> list[Any]:
        client = AsyncDeepgramClient(api_key=KEY, environment=environment)
        async with client.listen.v1.connect(model="nova-3", interim_results=True) as socket:
            data = CALL.read_bytes()
            for start in range(0, len(data), 4000):
                await socket.send_media(data[start : start + 4000])
            await socket.send_close_stream()
            return [message async for message in socket]

    messages = asyncio.run(run())
    assert finals(messages) == TEXT
    assert messages[-1].type == "Metadata"
