"""Which token may follow: Whisper's rules for suppressed tokens and for timestamps, on logits.

As `SuppressBlank`, `SuppressTokens` and `ApplyTimestampRules` in openai/whisper's decoding.py, and as transformers has
them in `WhisperTimeStampLogitsProcessor`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.families.whisper.settings import TIME_STEP_S, WhisperSettings

Logits = NDArray[np.float32]
"""Shape (hypotheses, vocabulary), float32."""


class Rules:
    """The rules of one window. timestamps: whether the text is written with the times at which its parts begin and
    end.
    """

    def __init__(self, settings: WhisperSettings, timestamps: bool) -> None:
        special = settings.special
        self._special = special
        self._timestamps = timestamps
        self._last_first_timestamp = special.first_timestamp + round(settings.max_first_timestamp_s / TIME_STEP_S)
        never = [*settings.suppressed, *special.languages.values(), special.start, special.no_timestamps]
        never += [
            token
            for token in (special.previous, special.no_speech, special.transcribe, special.translate)
            if token is not None
        ]
        self._never = np.array(sorted(set(never) - {special.end}), dtype=np.intp)
        self._not_first = np.array(settings.suppressed_first, dtype=np.intp)

    def apply(self, logits: Logits, written: Sequence[Sequence[int]]) -> None:
        """Set the logits of tokens that may not follow to minus infinity, in place.

        written: the tokens of each hypothesis, without the prompt.
        """
        logits[:, self._never] = -np.inf
        if not written[0]:
            logits[:, self._not_first] = -np.inf
        if not self._timestamps:
            logits[:, self._special.first_timestamp :] = -np.inf
            return
        for row, tokens in zip(logits, written, strict=True):
            self._apply_timestamps(row, tokens)

    def _apply_timestamps(self, row: NDArray[np.float32], tokens: Sequence[int]) -> None:
        first, end = self._special.first_timestamp, self._special.end
        if not tokens:
            row[:first] = -np.inf
            row[self._last_first_timestamp + 1 :] = -np.inf
            return
        after_timestamp = tokens[-1] >= first
        after_pair = after_timestamp and (len(tokens) < 2 or tokens[-2] >= first)
        if after_pair:
            row[first:] = -np.inf
        elif after_timestamp:
            row[:end] = -np.inf
        times = [token for token in tokens if token >= first]
        if times:
            # Never back, and no segment of no length: a time that closes a segment may open the next one.
            row[first : times[-1] + (0 if after_timestamp and not after_pair else 1)] = -np.inf
        if _log_sum_exp(row[first:]) > row[:first].max():
            row[:first] = -np.inf


def _log_sum_exp(values: NDArray[np.float32]) -> float:
    highest = values.max()
    if np.isneginf(highest):
        return -np.inf
    return float(highest + np.log(np.exp(values - highest).sum()))
