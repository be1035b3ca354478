"""OpenAI's own clients, unmodified, on a real service process with the bundled model; and what other clients send."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import srt

from scripts.common.service_process import wait_until_ready
from tests.app.test_server import serving

ROOT = Path(__file__).resolve().parents[1]
CALL = ROOT / "samples" / "call.wav"
KEY = "alpha"
TEXT = "iyi günler geçen ayki faturam hakkında bilgi almak istiyorum müşteri numaram beş sekiz iki dört"
NODE_MODULES = os.environ.get("DIKTE_NODE_MODULES", "")
"""A `node_modules` folder with OpenAI's client for JavaScript."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("service"), ASR_API_KEYS=KEY, ASR_CORS_ORIGINS="*") as (url, _):
        wait_until_ready(url)
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


class TestPython:
    def test_json(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=CALL, include=["logprobs"])
        assert answer.text == TEXT
        assert answer.logprobs
        assert "".join(token.token or "" for token in answer.logprobs) == TEXT
        assert answer.usage
        assert answer.usage.type == "duration"

    def test_verbose_json(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=CALL,
            language="tr",
            prompt="müşteri",
            temperature=0.2,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
        )
        assert (answer.text, answer.language) == (TEXT, "turkish")
        assert answer.duration == pytest.approx(8.039, abs=0.01)
        assert answer.segments
        assert answer.words
        assert [word.word for word in answer.words] == TEXT.split()
        assert "".join(segment.text for segment in answer.segments).strip() == TEXT
        assert all(set(segment.model_fields_set) == set(type(segment).model_fields) for segment in answer.segments)

    def test_diarized_json(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.create(
            model="gpt-4o-transcribe-diarize",
            file=CALL,
            response_format="diarized_json",
            chunking_strategy={"type": "server_vad", "threshold": 0.4},
            known_speaker_names=["agent", "customer"],
            known_speaker_references=["data:audio/wav;base64," + "A" * 100_000] * 2,
        )
        assert "".join(segment.text for segment in answer.segments).strip() == TEXT
        assert {segment.speaker for segment in answer.segments} == {"A"}

    @pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
    def test_texts(self, client: openai.OpenAI, kind: Any) -> None:
        answer: Any = client.audio.transcriptions.create(model="whisper-1", file=CALL, response_format=kind)
        assert isinstance(answer, str)
        if kind == "srt":
            answer = " ".join(subtitle.content for subtitle in srt.parse(answer))
        assert set(TEXT.split()) <= set(answer.split())

    def test_what_is_ignored_can_be_read(self, client: openai.OpenAI) -> None:
        answer = client.audio.transcriptions.with_raw_response.create(
            model="gpt-transcribe", file=CALL, keywords=["fatura"], languages=["tr", "en"], language="en"
        )
        assert answer.headers["x-ignored-parameters"] == "language, keywords"
        assert answer.parse().text == TEXT

    def test_a_stream(self, client: openai.OpenAI) -> None:
        stream = client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=CALL, stream=True)
        *deltas, done = list(stream)
        assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == TEXT
        assert done.type == "transcript.text.done"
        assert done.text == TEXT
        assert done.usage
        assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens

    def test_asynchronously(self, url: str) -> None:
        async def transcribe() -> tuple[str, str]:
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
                whole = await client.audio.transcriptions.create(model="whisper-1", file=CALL)
                stream = await client.audio.transcriptions.create(model="whisper-1", file=CALL, stream=True)
                deltas = [event.delta async for event in stream if event.type == "transcript.text.delta"]
                return whole.text, "".join(deltas)

        assert asyncio.run(transcribe()) == (TEXT, TEXT)

    def test_models(self, client: openai.OpenAI) -> None:
        (model,) = client.models.list()
        assert (model.id, model.owned_by) == ("tr-small", "dikte")
        assert client.models.retrieve("whisper-1").id == "whisper-1"

    @pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI will end its translations
    def test_errors_are_those_that_it_knows(self, url: str, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.translations.create(model="whisper-1", file=CALL)
        assert (refused.value.code, refused.value.param) == ("unsupported_value", "model")
        assert refused.value.type == "invalid_request_error"
        with pytest.raises(openai.BadRequestError) as broken:
            client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"no sound"))
        assert broken.value.code == "unsupported_media"
        with pytest.raises(openai.NotFoundError):
            client.with_options(base_url=f"{url}/v1/v1").models.list()
        with pytest.raises(openai.AuthenticationError) as unknown:
            client.with_options(api_key="beta").models.list()
        assert unknown.value.code == "invalid_api_key"

    def test_a_deadline_is_not_tried_again(self, url: str) -> None:
        """A second upload would take as long."""
        tried: list[object] = []
        http: Any = httpx.Client(event_hooks={"request": [tried.append]})
        headers = {"X-Request-Timeout": "0.001"}
        client = openai.OpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=2, http_client=http, default_headers=headers
        )
        with client, pytest.raises(openai.InternalServerError) as late:
            client.audio.transcriptions.create(model="whisper-1", file=CALL)
        assert late.value.code == "deadline_exceeded"
        assert len(tried) == 1


def multipart(*parts: tuple[str, str | None]) -> list[tuple[str, tuple[str | None, bytes] | tuple[str, bytes, str]]]:
    """The parts of a form in this order; None stands for the file."""
    sound = CALL.read_bytes()
    return [
        (name, ("audio.wav", sound, "audio/wav") if value is None else (None, value.encode())) for name, value in parts
    ]


FORMS = {
    "LiveKit": [("model", "gpt-4o-mini-transcribe"), ("language", "en"), ("response_format", "json"), ("file", None)],
    "LiveKit, whisper-1": [
        ("model", "whisper-1"), ("language", "en"), ("response_format", "verbose_json"), ("file", None),
    ],
    "Pipecat": [("model", "gpt-transcribe"), ("language", "en"), ("file", None)],
    "Pipecat, with probabilities": [
        ("model", "gpt-transcribe"), ("include[]", "logprobs"), ("language", "en"), ("response_format", "json"),
        ("file", None),
    ],
    "Subtitle Edit": [
        ("model", "whisper-1"), ("response_format", "verbose_json"), ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"), ("language", "tr"), ("file", None),
    ],
    "Open WebUI": [("file", None), ("model", "whisper-1")],
    "Vercel AI SDK": [
        ("model", "whisper-1"), ("file", None), ("language", "tr"), ("response_format", "verbose_json"),
        ("temperature", "0"), ("timestamp_granularities[]", "word"),
    ],
    "Vercel AI SDK, other models": [
        ("model", "gpt-4o-transcribe"), ("file", None), ("language", "tr"), ("response_format", "json"),
        ("temperature", "0"), ("timestamp_granularities[]", "word"),
    ],
}  # fmt: skip
"""Client -> the form that it sends, in its order."""


class TestForms:
    @pytest.mark.parametrize("name", FORMS)
    def test_what_clients_send(self, url: str, name: str) -> None:
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            files=multipart(*FORMS[name]),
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["text"] == TEXT
        fields = [field for field, _ in FORMS[name]]
        if "include[]" in fields:
            assert all({"token", "bytes", "logprob"} == set(token) for token in body["logprobs"])
        if ("response_format", "verbose_json") in FORMS[name] and "timestamp_granularities[]" in fields:
            assert [word["word"] for word in body["words"]] == TEXT.split()
        if name == "Subtitle Edit":
            assert body["segments"][0]["text"].strip()

    def test_subtitle_edit_streams(self, url: str) -> None:
        """It drops events without an `event:` line."""
        parts = multipart(("model", "whisper-1"), ("response_format", "json"), ("stream", "true"), ("file", None))
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions", files=parts, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
        blocks = answer.text.strip().split("\n\n")
        assert all(block.startswith("event: transcript.text.") for block in blocks)
        deltas = [json.loads(block.split("data: ")[1]).get("delta", "") for block in blocks]
        assert "".join(deltas) == TEXT

    def test_a_browser_may_send_what_openai_node_sends(self, url: str) -> None:
        """The preflight of openai-node in a browser."""
        names = "authorization,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-package-version,"
        names += "x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,x-stainless-timeout,"
        names += "openai-organization,openai-project"
        headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
        asked = headers | {"Access-Control-Request-Headers": names}
        answer = httpx.options(f"{url}/v1/audio/transcriptions", headers=asked)
        assert answer.status_code == 200
        allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
        assert set(names.split(",")) <= set(allowed)


NODE = """
import OpenAI from "openai";
import fs from "node:fs";
const [url, key, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: key, maxRetries: 0 });
const file = () => fs.createReadStream(path);
const whole = await client.audio.transcriptions.create({
  model: "whisper-1", file: file(), response_format: "verbose_json", timestamp_granularities: ["word", "segment"],
});
const stream = await client.audio.transcriptions.create({ model: "gpt-4o-transcribe", file: file(), stream: true });
let text = "";
let done = null;
for await (const event of stream) {
  if (event.type === "transcript.text.delta") text += event.delta;
  if (event.type === "transcript.text.done") done = event.text;
}
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let error = null;
try {
  await client.audio.translations.create({ model: "whisper-1", file: file() });
} catch (caught) {
  error = { name: caught.constructor.name, status: caught.status, code: caught.code, param: caught.param };
}
console.log(JSON.stringify({ text: whole.text, words: whole.words.length, stream: text, done, models, error }));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.skipif(
    not (Path(NODE_MODULES) / "openai").is_dir(),
    reason="needs OpenAI's client for JavaScript: `make test-clients` installs it and runs this test",
)
def test_javascript(url: str, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(Path(NODE_MODULES).resolve())
    script = tmp_path / "client.mjs"
    script.write_text(NODE, encoding="utf-8")
    command = ["node", str(script), url, KEY, str(CALL)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "text": TEXT,
        "words": len(TEXT.split()),
        "stream": TEXT,
        "done": TEXT,
        "models": ["tr-small"],
        "error": {"name": "BadRequestError", "status": 400, "code": "unsupported_value", "param": "model"},
    }
