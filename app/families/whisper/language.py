"""The language of a clip, which all of its windows share."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.recognizer import Samples, Window


@dataclass(frozen=True)
class Language:
    """A language of the model. probability: that of its detection; None if the caller named the language."""

    code: str
    probability: float | None = None


class Clip:
    """What the windows of one clip share: where its language is looked for, and the language once it is detected."""

    def __init__(self) -> None:
        self.beginning: Sequence[Samples] = ()
        """The samples of its first windows, each of shape (samples,), float32."""
        self._lock = threading.Lock()
        self._language: Language | None = None

    def language(self, detect: Callable[[Sequence[Samples]], Language]) -> Language:
        """The language that `detect` finds at the beginning. Thread-safe: it is detected once.

        So the answer does not depend on which window is computed first.
        """
        with self._lock:
            if self._language is None:
                self._language = detect(self.beginning)
            return self._language


@dataclass(frozen=True)
class SpeechWindow(Window):
    """A window that knows its clip."""

    clip: Clip = field(default_factory=Clip)
