"""Decoders with one defect each, to test that the fuzzer finds it."""

import ctypes
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from app.audio import AudioLimits, Waveform
from app.errors import InvalidAudio, Overloaded
from tests.fuzz.properties import cpu_bound_s

Meter = Callable[[float], object]
kept: list[object] = []


def _second(value: float = 0.0) -> Waveform:
    return Waveform(np.full(16_000, value, dtype=np.float32), 16_000)


def crash(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    ctypes.string_at(0)
    return _second()


def hang(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    while True:
        pass


def be_slow(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    end_s = time.process_time() + 1.1 * cpu_bound_s(file.seek(0, os.SEEK_END), 1.0)
    while time.process_time() < end_s:
        pass
    return _second()


def take_all_memory(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    kept.append(bytearray(2 << 30))
    return _second()


def keep_memory(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    kept.append(np.ones(10_000))
    meter(1.0)
    return _second()


def keep_descriptors(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    kept.append(os.dup(0))
    raise InvalidAudio("broken")


def keep_threads(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    threading.stack_size(1 << 18)  # address space is limited
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    raise InvalidAudio("broken")


def keep_files(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    Path(tempfile.gettempdir(), "left").touch()
    raise InvalidAudio("broken")


def close(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    file.close()
    return _second()


def give_nan(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    return _second(float("nan"))


def give_nothing(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    return Waveform(np.zeros(0, dtype=np.float32), 16_000)


def give_float64(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    return Waveform(np.zeros(16_000), 16_000)  # type: ignore[arg-type]


def give_too_much(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(61.0)
    return Waveform(np.zeros(61 * 16_000, dtype=np.float32), 16_000)


def give_other_samples(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    meter(1.0)
    kept.append(file)
    return _second(float(len(kept)))


def meter_nothing(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    return _second()


def raise_what_is_not_documented(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    raise ValueError("negative seek")


def raise_another_error_of_ours(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    raise Overloaded("later")


def raise_bytes(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    raise InvalidAudio("broken", tag=b"RIFF")


def raise_a_long_message(file: BinaryIO, rate_hz: int, limits: AudioLimits, meter: Meter) -> Waveform:
    raise InvalidAudio("broken\nin two lines")
