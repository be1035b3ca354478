"""Speech of espeak-ng with the true start of each word, through its library.

While espeak-ng synthesizes, it reports an event with the sample at which each word of the text begins
(`espeakEVENT_WORD` in espeak-ng/speak_lib.h). A command line cannot print these events. Linux only.
"""

import ctypes
import ctypes.util
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.speech.clips import Samples

LIBRARY = "espeak-ng"
SYNCHRONOUS = 2
"""`AUDIO_OUTPUT_SYNCHRONOUS`: synthesis ends before the call returns, and the samples go to the callback."""
UTF8 = 1
CHARACTERS = 1
"""Positions in the text are counted in characters."""
RATE, PITCH, WORD_GAP = 1, 3, 7
"""Numbers of the parameters: words per minute, 0 to 99, units of 10 ms."""
END_OF_EVENTS, WORD = 0, 1


class EspeakError(Exception):
    """espeak-ng is not installed, or cannot say a text. The message says what to do."""


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Spoken:
    """A synthesized text.

    samples: shape (samples,), float32. starts_s: when each word of the text begins, in seconds; None for a word that
    espeak-ng says as one with the word before ("for the").
    """

    samples: Samples
    rate_hz: int
    starts_s: tuple[float | None, ...]


class Espeak:
    """espeak-ng's library, of which a process has one. Not thread-safe. Raises EspeakError if it is not installed."""

    def __init__(self) -> None:
        name = ctypes.util.find_library(LIBRARY)
        if name is None:
            raise EspeakError("espeak-ng is not installed: apt-get install espeak-ng")
        self._library = ctypes.CDLL(name)
        self._library.espeak_Synth.argtypes = (
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        self.rate_hz = int(self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0))
        if self.rate_hz <= 0:
            raise EspeakError("espeak-ng cannot be started: its data is missing")
        self._samples: list[NDArray[np.int16]] = []
        self._words: list[tuple[int, int]] = []
        self._callback = _Callback(self._receive)  # kept as long as the library has its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, speed_wpm: int = 160, pitch: int = 50, word_gap: int = 0) -> Spoken:
        """Synthesize a text whose words are separated by spaces.

        voice: such as `en+f3`. pitch: 0 to 99. word_gap: in units of 10 ms. Raises EspeakError if there is no such
        voice, or if nothing of the text can be said.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise EspeakError(f"espeak-ng has no voice {voice}")
        for parameter, value in ((RATE, speed_wpm), (PITCH, pitch), (WORD_GAP, word_gap)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._samples.clear()
        self._words.clear()
        encoded = text.encode()
        if self._library.espeak_Synth(encoded, len(encoded) + 1, 0, CHARACTERS, 0, UTF8, None, None):
            raise EspeakError(f"espeak-ng cannot say {text!r}")
        if not self._words:
            raise EspeakError(f"espeak-ng says nothing for {text!r}")
        starts = {place: sample / self.rate_hz for place, sample in reversed(self._words)}  # a number is several words
        samples = np.divide(np.concatenate(self._samples), 2**15, dtype=np.float32)
        return Spoken(samples, self.rate_hz, tuple(starts.get(word.start()) for word in re.finditer(r"\S+", text)))

    def _receive(
        self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        """espeak-ng calls this with each piece of audio and its events. 0 continues."""
        if samples and count:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).astype(np.int16))
        index = 0
        while events[index].type != END_OF_EVENTS:
            if events[index].type == WORD:
                self._words.append((events[index].text_position - 1, events[index].sample))
            index += 1
        return 0
