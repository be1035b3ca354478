"""Report how fast and how well live streams are transcribed.

    python scripts/tools/live_report.py --manifest samples/manifest.jsonl --streams 1 10
    python scripts/tools/live_report.py --streams 1 --seconds 1800 --pace 4   # half an hour in 8 minutes

Starts the service with the bundled model (`ASR_*` variables apply). Each stream sends clips of the manifest (`audio`,
`text`), in an order of its own and with pauses between them, to Deepgram's API as fast as people speak, or `--pace`
times as fast. Prints, for each number of streams:

- first partial: from the moment at which the first word of a clip begins to be sent, to the first text;
- TTFS: from the moment at which the last word of a clip was sent, to its final. `--finalize` sends `Finalize` 200 ms
  after it, as clients with a voice detector of their own do; otherwise the service finds the end (`--endpointing_ms`);
- the WER of the finals, and that of the same sound as a file;
- committed words that the final contradicts;
- the lag of finals, in seconds of the clock, and the memory of the service, in each quarter of the streams.
"""

import argparse
import asyncio
import io
import json
import os
import re
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import websockets
from numpy.typing import NDArray

from app.cpu import this_cpu
from app.languages import lower_case
from app.recognizer import Samples
from app.silero import RATE_HZ
from app.voice_activity import VoiceDetector, VoiceSettings, speech_spans
from scripts.common.service_process import dikte
from scripts.speech.scoring import count_errors

PIECE_S = 0.05
"""Telephone stacks send 20 ms at a time, browsers up to 100 ms."""
FINALIZE_S = 0.2
BARE = VoiceSettings(padding_before_ms=0, padding_after_ms=0)


@dataclass(frozen=True)
class Spoken:
    """A clip in a stream: when its speech starts and ends, seconds, and its text."""

    start_s: float
    end_s: float
    text: str


@dataclass
class Heard:
    """What came back for one stream; times are seconds of audio since its start, arrivals by the same clock."""

    finals: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    partials: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    late_s: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=Path("samples/manifest.jsonl"))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seconds", type=float, default=60.0, help="least length of each stream")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds of audio that are sent in a second")
    parser.add_argument("--pause_s", type=float, default=1.5)
    parser.add_argument("--endpointing_ms", type=int, default=300)
    parser.add_argument("--finalize", action="store_true")
    parser.add_argument("--mulaw", action="store_true", help="send 8 kHz mu-law")
    parser.add_argument("--language", default="tr")
    arguments = parser.parse_args()
    clips = read_clips(arguments.manifest)
    print(f"{len(clips)} clips, {os.cpu_count()} cores of {this_cpu()}, endpointing {arguments.endpointing_ms} ms")
    with dikte() as service:
        for streams in arguments.streams:
            report(service.url, clips, streams, arguments)


def read_clips(manifest: Path) -> list[tuple[Samples, str]]:
    """The clips of a manifest at `RATE_HZ`, with their texts."""
    clips = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        samples, rate_hz = soundfile.read(manifest.parent / entry["audio"], dtype="float32")
        clips.append((soxr.resample(samples, rate_hz, RATE_HZ), entry["text"]))
    return clips


def arrange(
    clips: list[tuple[Samples, str]], seconds: float, pause_s: float, seed: int
) -> tuple[Samples, list[Spoken]]:
    """A stream of clips in random order with pauses of faint noise, and what is spoken when."""
    random = np.random.default_rng(seed)
    detector = VoiceDetector()
    parts, spoken, length = [], [], 0
    while length < seconds * RATE_HZ:
        for index in random.permutation(len(clips)):
            samples, text = clips[index]
            spans = speech_spans(detector.probabilities(samples), len(samples), BARE)
            first, last = (spans[0].start, spans[-1].end) if spans else (0, len(samples))
            spoken.append(Spoken((length + first) / RATE_HZ, (length + last) / RATE_HZ, text))
            pause = random.normal(0, 1e-4, round(pause_s * random.uniform(0.8, 1.2) * RATE_HZ)).astype(np.float32)
            parts += [samples, pause]
            length += len(samples) + len(pause)
            if length >= seconds * RATE_HZ:
                break
    return np.concatenate(parts), spoken


def encoded(samples: Samples, mulaw: bool) -> tuple[bytes, int]:
    """The samples as they are sent, and the bytes per second."""
    if not mulaw:
        return (samples.clip(-1, 1) * 32767).astype("<i2").tobytes(), 2 * RATE_HZ
    narrow = soxr.resample(samples, RATE_HZ, 8000)
    file = io.BytesIO()
    soundfile.write(file, narrow, 8000, format="RAW", subtype="ULAW")
    return file.getvalue(), 8000


async def stream(
    url: str, samples: Samples, spoken: list[Spoken], arguments: argparse.Namespace, delay_s: float
) -> Heard:
    """Send one stream in real time, starting after `delay_s`, and collect what comes."""
    await asyncio.sleep(delay_s)
    data, bytes_per_s = encoded(samples, arguments.mulaw)
    encoding = "mulaw&sample_rate=8000" if arguments.mulaw else f"linear16&sample_rate={RATE_HZ}"
    endpointing = "false" if arguments.finalize else arguments.endpointing_ms
    address = (
        f"{url.replace('http', 'ws')}/v1/listen?encoding={encoding}&interim_results=true&endpointing={endpointing}"
    )
    heard = Heard()
    marks = [part.end_s + FINALIZE_S for part in spoken] if arguments.finalize else []
    async with websockets.connect(address, ping_timeout=None) as socket:
        begin = time.monotonic()

        async def send() -> None:
            piece = round(PIECE_S * bytes_per_s)
            for start in range(0, len(data), piece):
                sent_s = (start + piece) / bytes_per_s
                wait_s = begin + sent_s / arguments.pace - time.monotonic()
                heard.late_s = max(heard.late_s, -wait_s)
                await asyncio.sleep(max(0.0, wait_s))
                await socket.send(data[start : start + piece])
                while marks and marks[0] <= sent_s:
                    marks.pop(0)
                    await socket.send('{"type": "Finalize"}')
            await socket.send('{"type": "CloseStream"}')

        sending = asyncio.create_task(send())
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "Results":
                kind = heard.finals if message["is_final"] else heard.partials
                kind.append(((time.monotonic() - begin) * arguments.pace, message))
        await sending
    return heard


def report(url: str, clips: list[tuple[Samples, str]], streams: int, arguments: argparse.Namespace) -> None:
    """Run so many streams and print the figures."""
    made = [arrange(clips, arguments.seconds, arguments.pause_s, seed) for seed in range(streams)]
    before = metrics(url)
    delays_s = np.random.default_rng(0).uniform(0, 3, streams)

    memory_bytes: list[float] = []

    async def watch() -> None:
        while True:
            memory_bytes.append((await asyncio.to_thread(metrics, url))["memory"])
            await asyncio.sleep(1.0)

    async def run() -> list[Heard]:
        watching = asyncio.create_task(watch())
        try:
            return await asyncio.gather(
                *(stream(url, *both, arguments, delay_s) for both, delay_s in zip(made, delays_s, strict=True))
            )
        finally:
            watching.cancel()

    heard = asyncio.run(run())
    after = metrics(url)
    firsts_s, finals_s, lags_s = [], [], []
    errors = words = file_errors = missed = 0
    for (samples, spoken), found in zip(made, heard, strict=True):
        for number, part in enumerate(spoken):
            until_s = spoken[number + 1].start_s if number + 1 < len(spoken) else np.inf
            first = next((at for at, message in found.partials if at >= part.start_s and has_words(message)), None)
            if first is not None and first < until_s:
                firsts_s.append((first - part.start_s) / arguments.pace)
            last = [at for at, message in found.finals if has_words(message) and starts_in(message, part, until_s)]
            if last:
                finals_s.append((max(last) - part.end_s) / arguments.pace)
            else:
                missed += 1
        lags_s.append(
            [
                (at - message["start"] - message["duration"]) / arguments.pace
                for at, message in found.finals
                if has_words(message)
            ]
        )
        reference = normalized(" ".join(part.text for part in spoken), arguments.language)
        live = " ".join(text_of(message) for _, message in found.finals)
        score = count_errors(reference, normalized(live, arguments.language))
        errors, words = errors + score.word_errors, words + score.words
        whole = count_errors(reference, normalized(transcribed(url, samples, arguments), arguments.language))
        file_errors += whole.word_errors
    committed = sum(after[f"words {kind}"] - before[f"words {kind}"] for kind in ("kept", "contradicted"))
    against = after["words contradicted"] - before["words contradicted"]
    print(f"\n{streams} streams of {arguments.seconds:g} s:")
    print(f"  first partial   {spread(firsts_s)}")
    print(f"  TTFS            {spread(finals_s)}")
    print(f"  WER of finals   {errors / words:.2%}, as a file {file_errors / words:.2%} ({words} words)")
    print(f"  contradicted    {against:.0f} of {committed:.0f} committed words ({against / max(1, committed):.2%})")
    by_quarter = [np.concatenate(parts) for parts in zip(*map(quarters, lags_s), strict=True)]
    print(f"  lag             {', '.join(f'{np.median(part):.3f}' for part in by_quarter)} s by quarter (median)")
    peaks = [f"{max(part, default=0) / 2**20:.0f}" for part in quarters(memory_bytes)]
    print(f"  memory          {', '.join(peaks)} MiB by quarter (most)")
    print(f"  partials        {after['partials computed'] - before['partials computed']:.0f} computed, "
          f"{after['partials dropped'] - before['partials dropped']:.0f} dropped")  # fmt: skip
    print(
        f"  clips without a final: {missed}; the sender was late by {max(part.late_s for part in heard):.3f} s at most"
    )


def quarters(values: list[float]) -> list[NDArray[np.float64]]:
    return np.array_split(np.array(values, dtype=np.float64), 4)


def has_words(message: dict[str, Any]) -> bool:
    return bool(text_of(message))


def text_of(message: dict[str, Any]) -> str:
    return str(message["channel"]["alternatives"][0]["transcript"])


def starts_in(message: dict[str, Any], part: Spoken, until_s: float) -> bool:
    """Whether a word of the message belongs to the clip."""
    words = message["channel"]["alternatives"][0]["words"]
    return any(part.start_s - 0.3 <= word["start"] < min(part.end_s, until_s) for word in words)


def transcribed(url: str, samples: Samples, arguments: argparse.Namespace) -> str:
    """The text of the same sound as a file."""
    data, _ = encoded(samples, arguments.mulaw)
    encoding = "mulaw&sample_rate=8000" if arguments.mulaw else f"linear16&sample_rate={RATE_HZ}"
    request = urllib.request.Request(f"{url}/v1/listen?encoding={encoding}", data, method="POST")  # noqa: S310
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310  # our own address
        return str(json.load(answer)["results"]["channels"][0]["alternatives"][0]["transcript"])


def metrics(url: str) -> dict[str, float]:
    """The counters of live streams, and the memory of the service in bytes."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:  # noqa: S310  # our own address
        text = answer.read().decode()
    pattern = r'dikte_live_(?:committed_)?(\w+)_total\{outcome="(\w+)"\} (\S+)'
    found = {f"{name} {outcome}": float(value) for name, outcome, value in re.findall(pattern, text)}
    (memory,) = re.findall(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
    return found | {"memory": float(memory)}


def spread(values: list[float] | NDArray[np.float64]) -> str:
    """Percentiles of durations."""
    if not len(values):
        return "none"
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return f"p50 {p50:.3f} s, p90 {p90:.3f} s, p99 {p99:.3f} s ({len(values)} clips)"


def normalized(text: str, language: str) -> str:
    """Words in lower case, without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", " ", lower_case(text, language)).split())


if __name__ == "__main__":
    main()
