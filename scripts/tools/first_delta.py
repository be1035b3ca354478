"""Measure how soon a streamed answer begins.

    python scripts/tools/first_delta.py samples/*.wav --minutes 10

Starts the service with the bundled model (`ASR_*` variables apply), repeats the files until there is a clip of that
length, uploads it to `/v1/audio/transcriptions` with `stream=true`, and prints the seconds from the end of the upload
to the first text and to the end, and whether the deltas add up to the text.
"""

import argparse
import http.client
import io
import json
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import numpy as np
import soundfile

from app.cpu import this_cpu
from scripts.common.service_process import dikte

BOUNDARY = "a-line-that-is-in-no-file"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="clip.wav"\r\n\r\n'
)


def repeated(paths: list[Path], duration_s: float) -> bytes:
    """A WAV file of `duration_s` seconds: the files one after the other, again and again. All have one rate."""
    read = [soundfile.read(path, dtype="float32") for path in paths]
    rates_hz = {rate_hz for _, rate_hz in read}
    if len(rates_hz) > 1:
        raise SystemExit(f"the files have several sample rates: {', '.join(map(str, sorted(rates_hz)))}")
    samples = np.resize(np.concatenate([clip for clip, _ in read]), int(duration_s * read[0][1]))
    file = io.BytesIO()
    soundfile.write(file, samples, read[0][1], format="WAV", subtype="PCM_16")
    return file.getvalue()


def measure(url: str, clip: bytes) -> tuple[float, float, int, bool]:
    """Seconds to the first text and to the end, the number of deltas, and whether they add up to the text."""
    body = HEAD.encode() + clip + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    first_s, deltas, text = 0.0, list[str](), None
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)) as connection:
        connection.request("POST", "/v1/audio/transcriptions", body, headers)
        sent = time.perf_counter()
        with connection.getresponse() as answer:
            for line in answer:
                if not line.startswith(b"data: "):
                    continue
                event = json.loads(line.removeprefix(b"data: "))
                if "error" in event:
                    raise SystemExit(event["error"]["message"])
                if not deltas:
                    first_s = time.perf_counter() - sent
                deltas += [event["delta"]] if "delta" in event else []
                text = event.get("text")
    return first_s, time.perf_counter() - sent, len(deltas), "".join(deltas) == text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    clip = repeated(arguments.files, arguments.minutes * 60)
    print(f"{arguments.minutes:g} minutes, {len(clip) / 1e6:.1f} MB, on {this_cpu()}")
    firsts_s = []
    with dikte() as service:
        for _ in range(arguments.times):
            first_s, whole_s, deltas, equal = measure(service.url, clip)
            firsts_s.append(first_s)
            verdict = "add up" if equal else "do NOT add up"
            print(f"first text after {first_s:.3f} s, the end after {whole_s:.2f} s; {deltas} deltas {verdict}")
    print(f"median: first text after {median(firsts_s):.3f} s")


if __name__ == "__main__":
    main()
