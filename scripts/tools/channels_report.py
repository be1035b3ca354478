"""Report how stereo recordings are transcribed: which `channels=auto` separates, and how well and fast it does so.

    python scripts/tools/channels_report.py
    python scripts/tools/channels_report.py --runs 15 --repeats 4 --model_dir models/wav2vec2-base-turkish

The first table has the recordings of `scripts/tools/call_recordings.py`, each with several pairs of voices: how many
are separated, and the figures by which that is decided. The second has the words of the calls: on which side they are
found, and their error rate beside that of each side as a file of its own. Then comes the time of a call, beside that of
its two sides as files, one after the other. Needs espeak-ng (`apt-get install espeak-ng`).

A side as a file of its own has the noise of the call, but not its crosstalk.
"""

import argparse
import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import soundfile

from app.audio.sides import common_share, compare_levels, same_sound, two_sides
from app.cpu import this_cpu
from app.recognizer import ChannelMode, Options
from app.service import load_model
from app.settings import BUNDLED_MODEL, Settings
from app.transcriber import Transcriber
from app.transcript import Transcript, joined
from scripts.speech.scoring import count_errors, word_error_rate
from scripts.tools.call_recordings import (
    RATE_HZ,
    VOICES,
    Call,
    Recording,
    Stereo,
    make_call,
    recordings,
    with_crosstalk,
    with_noise,
)
from scripts.training.augment import Samples

OVERLAPS = (-0.3, 0.2, 0.4)
"""Shares of a turn that the next one covers."""


def report_decisions(made: list[list[Recording]]) -> None:
    """Print a line for each kind of recording. made: the same kinds, with several pairs of voices."""
    print(f"{'recording':45}{'separated':>11}{'own share':>13}{'common':>13}{'copies':>8}  expected")
    for kind in zip(*made, strict=True):
        pairs = [(recording.stereo[:, 0].copy(), recording.stereo[:, 1].copy()) for recording in kind]
        copies = [same_sound(left, right, RATE_HZ) for left, right in pairs]
        separated = [
            not copy and two_sides(left, right, RATE_HZ) for copy, (left, right) in zip(copies, pairs, strict=True)
        ]
        own = [compare_levels(left, right, RATE_HZ).own_share for left, right in pairs]
        common = [common_share(left, right, RATE_HZ) for left, right in pairs]
        expected = "separate" if kind[0].separate else "mix"
        wrong = "" if all(found == kind[0].separate for found in separated) else "  (differs)"
        print(
            f"{kind[0].name:45}{sum(separated):>7} of {len(kind)}"
            f"{min(own):>7.2f}-{max(own):.2f}{min(common):>8.2f}-{max(common):.2f}{sum(copies):>8}  {expected}{wrong}"
        )


def report_words(transcriber: Transcriber, mode: ChannelMode) -> None:
    """Print, for calls with more and less overlap, which side the words are found on, and their error rate."""
    print(f"\n{'call':45}{'right side':>11}{'WER':>9}{'alone':>9}{'same text':>11}")
    for overlap in OVERLAPS:
        calls = [make_call(voices, overlap) for voices in VOICES]
        title = f"{overlap:.0%} overlap" if overlap >= 0 else "pauses"
        clean = [call.stereo for call in calls]
        report_calls(transcriber, mode, title, calls, clean, clean)
        noisy = [with_noise(stereo, 30) for stereo in clean]
        report_calls(transcriber, mode, f"{title}, noise at -30 dB", calls, noisy, noisy)
        crosstalk = [with_crosstalk(call, -25) for call in calls]
        report_calls(transcriber, mode, f"{title}, crosstalk at -25 dB", calls, crosstalk, clean)


def report_calls(
    transcriber: Transcriber,
    mode: ChannelMode,
    title: str,
    calls: list[Call],
    stereos: list[Stereo],
    sides: list[Stereo],
) -> None:
    """Print a line about calls of one kind. stereos: their recordings. sides: their channels, as files of their own.

    A word is on the wrong side if only the other side says it, and if it is not found in the file of this side.
    """
    right = words = same = 0
    together, alone = [], []
    for call, stereo, files in zip(calls, stereos, sides, strict=True):
        transcript = transcribe(transcriber, stereo, mode)
        texts = (call.left_text, call.right_text)
        for channel, text in enumerate(texts):
            found = joined(tuple(segment for segment in transcript.segments if segment.channel == channel))
            single = transcribe(transcriber, files[:, channel], "mix").text
            foreign = set(texts[1 - channel].split()) - set(text.split()) - set(single.split())
            right += sum(word not in foreign for word in found.split())
            words += len(found.split())
            same += found == single
            together.append(count_errors(text, found))
            alone.append(count_errors(text, single))
    share = right / words if words else 0.0
    print(
        f"{title:45}{share:>11.1%}{word_error_rate(together).rate:>9.1%}{word_error_rate(alone).rate:>9.1%}"
        f"{same:>5} of {2 * len(calls)}"
    )


def report_times(transcriber: Transcriber, runs: int, repeats: int) -> None:
    """Print the time of a call and of its two sides as files, medians of several runs that take turns."""
    call = make_call(repeats=repeats)
    sides = (call.left, call.right)
    measured: list[tuple[float, float, float, float]] = []
    for _ in range(runs + 1):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        transcribe(transcriber, call.stereo, "auto")
        middle, middle_cpu = time.perf_counter(), time.process_time()
        for side in sides:
            transcribe(transcriber, side, "mix")
        end, end_cpu = time.perf_counter(), time.process_time()
        measured.append((middle - begin, end - middle, middle_cpu - begin_cpu, end_cpu - middle_cpu))
    call_s, files_s, call_cpu_s, files_cpu_s = (median(column) for column in zip(*measured[1:], strict=True))
    duration_s = len(call.left) / RATE_HZ
    print(f"\ncall of {duration_s:.0f} s, and its sides as two files; medians of {runs} runs; {this_cpu()}")
    print(f"wall time:      {call_s:.3f} s, {files_s:.3f} s; ratio {call_s / files_s:.2f}")
    print(f"processor time: {call_cpu_s:.3f} s, {files_cpu_s:.3f} s; ratio {call_cpu_s / files_cpu_s:.2f}")


def transcribe(transcriber: Transcriber, samples: Stereo | Samples, mode: ChannelMode) -> Transcript:
    """The transcript of samples as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="WAV", subtype="PCM_16")
    return asyncio.run(transcriber.transcribe(file, options=Options(channels=mode)))


@contextmanager
def loaded(settings: Settings) -> Iterator[Transcriber]:
    """The model in the settings."""
    transcriber = Transcriber.from_settings(load_model(settings).lanes, settings)
    try:
        yield transcriber
    finally:
        transcriber.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", default=str(BUNDLED_MODEL), help="artifact, of a Turkish model")
    parser.add_argument("--backend", default="auto", help="as ASR_BACKEND")
    parser.add_argument("--runs", type=int, default=7, help="timed runs; 0 for none")
    parser.add_argument("--repeats", type=int, default=2, help="length of the timed call, in rounds of twelve turns")
    parser.add_argument("--only_times", action="store_true", help="skip the tables")
    arguments = parser.parse_args()
    if not arguments.only_times:
        report_decisions([list(recordings(voices)) for voices in VOICES])
    with loaded(Settings(model_dir=arguments.model_dir, backend=arguments.backend)) as transcriber:
        if not arguments.only_times:
            report_words(transcriber, "auto")
        if arguments.runs:
            report_times(transcriber, arguments.runs, arguments.repeats)


if __name__ == "__main__":
    main()
