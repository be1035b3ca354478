"""Measure how fast audio is decoded, in seconds of audio per CPU second, compared with the ffmpeg program.

    python scripts/tools/decoding_benchmark.py
    python scripts/tools/decoding_benchmark.py --against ../before --formats opus_webm mp3 --runs 7

Makes a file of `--seconds` in each format from `--audio`, which is repeated, with the ffmpeg program (Debian: `apt-get
install ffmpeg`). `app.audio.decode` and the program take turns to convert each file to 16 kHz mono, on one core and one
thread. `--against` also measures the code in another checkout of this repository. The measure is CPU time, so other
load on the machine matters little. Writes `decoding_report.md` to `--out`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
from tqdm import tqdm

from app.audio import AudioLimits, Samples, decode
from app.errors import AsrError
from scripts.common import ROOT, SAMPLES
from scripts.common.arguments import count, positive
from scripts.common.audio_files import find_audio_files
from scripts.common.command import ending_cleanly
from scripts.common.machine import processor, versions
from scripts.common.report import command_line, now, table

RATE_HZ = 16_000
LIMITS = AudioLimits(max_duration_s=86_400.0, max_decoded_bytes=1 << 36, max_channels=8)
REPORT_NAME = "decoding_report.md"
OURS, BEFORE, PROGRAM = "Dikte", "before", "ffmpeg"


@dataclass(frozen=True)
class Format:
    """A format, and the options of the ffmpeg program that make it."""

    title: str
    suffix: str
    options: tuple[str, ...]


STEREO = "-ar", "44100", "-ac", "2"
FORMATS = {
    "opus_ogg": Format("Opus, Ogg", ".ogg", ("-c:a", "libopus", "-b:a", "24k", "-ar", "48000")),
    "opus_webm": Format("Opus, WebM", ".webm", ("-c:a", "libopus", "-b:a", "24k", "-ar", "48000")),
    "mp3": Format("MP3, 16 kHz", ".mp3", ("-c:a", "libmp3lame", "-b:a", "32k", "-ar", "16000")),
    "mp3_stereo": Format("MP3, 44.1 kHz stereo", ".mp3", ("-c:a", "libmp3lame", "-b:a", "128k", *STEREO)),
    "aac": Format("AAC, M4A, 44.1 kHz", ".m4a", ("-c:a", "aac", "-b:a", "64k", "-ar", "44100")),
    "flac": Format("FLAC, 16 kHz", ".flac", ("-c:a", "flac")),
    "vorbis": Format("Vorbis, 44.1 kHz", ".ogg", ("-c:a", "libvorbis", "-ar", "44100")),
    "wav": Format("WAV, 44.1 kHz stereo", ".wav", ("-c:a", "pcm_s16le", *STEREO)),
}  # fmt: skip

WORKER = """
import io, sys, time
import soundfile
from app.audio import AudioLimits, decode
limits = AudioLimits(86400.0, 1 << 36, 8)
silence = io.BytesIO()
soundfile.write(silence, [0.0] * 44100, 44100, format="WAV")
decode(silence, 16000, limits)  # imports everything
with open(sys.argv[1], "rb") as file:
    begin_s = time.process_time()
    decode(file, 16000, limits)
    print(time.process_time() - begin_s)
"""
"""Decodes a file with the code in the current folder, and prints the CPU time in seconds."""


class BenchmarkError(Exception):
    """The benchmark cannot run. The message says why."""


def read_audio(paths: list[Path], seconds: float) -> Samples:
    """The audio of these files and folders, concatenated and repeated to `seconds`: shape (samples,), float32, 16 kHz.

    Raises BenchmarkError if a file cannot be read.
    """
    parts = []
    for path in find_audio_files(paths):
        try:
            with path.open("rb") as file:
                parts.append(decode(file, RATE_HZ, LIMITS).samples)
        except AsrError as error:
            raise BenchmarkError(f"{path}: {error.message}") from error
    samples: Samples = np.resize(np.concatenate(parts), round(seconds * RATE_HZ))
    return samples


def make_files(samples: Samples, formats: Iterable[str], folder: Path) -> dict[str, Path]:
    """Format -> a file of these samples. Raises BenchmarkError if the ffmpeg program cannot make it."""
    source = folder / "audio.wav"
    soundfile.write(source, samples, RATE_HZ)
    files = {}
    for name in formats:
        files[name] = folder / f"{name}{FORMATS[name].suffix}"
        run_ffmpeg("-i", str(source), *FORMATS[name].options, str(files[name]))
    return files


def run_ffmpeg(*arguments: str) -> None:
    """Run the ffmpeg program. Raises BenchmarkError with the last line of its output if it fails."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError((done.stderr.strip().splitlines() or ["ffmpeg failed"])[-1])


def cpu_s_of_ffmpeg(path: Path) -> float:
    """CPU time of the ffmpeg program for decoding a file on one thread, in seconds."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_ffmpeg("-threads", "1", "-i", str(path), "-ac", "1", "-ar", str(RATE_HZ), "-f", "f32le", os.devnull)
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def cpu_s_of_checkout(root: Path, path: Path) -> float:
    """CPU time of `app.audio` in a checkout for decoding a file, in seconds, in a new interpreter, without imports.

    Raises BenchmarkError if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(path)], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{root}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return float(done.stdout)


def measure(
    files: dict[str, Path], decoders: dict[str, Callable[[Path], float]], runs: int
) -> dict[str, dict[str, float]]:
    """Format -> decoder -> median CPU time in seconds. All decoders take turns in each run."""
    taken_s: dict[str, dict[str, list[float]]] = {name: {key: [] for key in decoders} for name in files}
    with tqdm(total=runs * len(files) * len(decoders), unit="file", disable=None) as progress:
        for _ in range(runs):
            for name, path in files.items():
                for key, decoder in decoders.items():
                    taken_s[name][key].append(decoder(path))
                    progress.update()
    return {name: {key: median(times) for key, times in by_key.items()} for name, by_key in taken_s.items()}


def report(taken_s: dict[str, dict[str, float]], seconds: float) -> str:
    """A table of the seconds of audio per CPU second of all decoders, and of their speed relative to the program."""
    keys = list(next(iter(taken_s.values())))
    own = [key for key in keys if key != PROGRAM]
    rows = []
    for name, by_key in taken_s.items():
        speeds = [f"{seconds / by_key[key]:,.0f}" for key in keys]
        shares = [f"{by_key[PROGRAM] / by_key[key]:.2f}" for key in own]
        rows.append([FORMATS[name].title, *speeds, *shares])
    return table(["format", *keys, *(f"{key} / {PROGRAM}" for key in own)], rows)


def run(arguments: argparse.Namespace) -> Path:
    """Make the files, measure, and write the report. Returns its path. Raises BenchmarkError."""
    if arguments.against is not None and not (arguments.against / "app").is_dir():
        raise BenchmarkError(f"{arguments.against} is not a checkout of this repository")
    try:
        program = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError("the ffmpeg program is not installed (Debian: apt-get install ffmpeg)") from error
    decoders: dict[str, Callable[[Path], float]] = {}
    if arguments.against is not None:
        decoders[BEFORE] = lambda path: cpu_s_of_checkout(arguments.against.resolve(), path)
    decoders |= {OURS: lambda path: cpu_s_of_checkout(ROOT, path), PROGRAM: cpu_s_of_ffmpeg}
    core = max(os.sched_getaffinity(0)) if arguments.core is None else arguments.core
    os.sched_setaffinity(0, {core})  # child processes inherit it
    with tempfile.TemporaryDirectory() as folder:
        print(f"Making {arguments.seconds:g} s of audio in {len(arguments.formats)} formats", flush=True)
        files = make_files(read_audio(arguments.audio, arguments.seconds), arguments.formats, Path(folder))
        print(f"Decoding each {arguments.runs} times with {', '.join(decoders)}, on core {core}", flush=True)
        taken_s = measure(files, decoders, arguments.runs)
    packages = ", ".join(f"{package} {number}" for package, number in versions(("av", "soundfile", "soxr")).items())
    lines = [
        "# Decoding",
        f"Printed by `{command_line()}` on {now()}: {processor()}, one core; ffmpeg {program}, {packages}. "
        f"Seconds of audio per CPU second, median of {arguments.runs} runs of {arguments.seconds:g} s.",
        report(taken_s, arguments.seconds),
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    path: Path = arguments.out / REPORT_NAME
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n{lines[-1]}\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, nargs="+", default=[SAMPLES], help="audio files of speech, or folders")
    parser.add_argument("--seconds", type=positive, default=600.0, help="length of the files")
    parser.add_argument("--formats", nargs="+", choices=tuple(FORMATS), default=list(FORMATS))
    parser.add_argument("--runs", type=count, default=5, help="number of times that each file is decoded")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout to measure")
    parser.add_argument("--core", type=int, help="the core to use (default: the last one that is available)")
    parser.add_argument("--out", type=Path, default=Path("artifacts"), help="folder for the report")
    arguments = parser.parse_args()
    with ending_cleanly("decoding benchmark", BenchmarkError, OSError):
        print(f"Report: {run(arguments)}")


if __name__ == "__main__":
    main()
