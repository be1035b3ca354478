"""Decoding rules of Whisper: which tokens may follow, by suppressed tokens and by the order of timestamps.

The same as transformers' `SuppressTokensAtBeginLogitsProcessor`, `SuppressTokensLogitsProcessor` and
`WhisperTimeStampLogitsProcessor` in this order, which follow `SuppressBlank`, `SuppressTokens` and
`ApplyTimestampRules` in openai/whisper's decoding.py.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.families.whisper.settings import WhisperSettings

Logits = NDArray[np.float32]
"""Shape (hypotheses, vocabulary), float32."""


class Rules:
    """The rules of one model, with or without timestamps. Has no state: one object serves all windows and threads.

    timestamps: whether the text has timestamps, as its prompt must say. Without, timestamps are not suppressed: after
    <|notimestamps|> the models write none. Raises ValueError if the model has no timestamps.
    """

    def __init__(self, settings: WhisperSettings, timestamps: bool) -> None:
        special = settings.special
        if timestamps and not special.timestamps:
            raise ValueError("the model has no timestamps")
        never = set(settings.suppressed)
        if timestamps and special.no_timestamps is not None:
            never.add(special.no_timestamps)
        self._never = np.array(sorted(never), dtype=np.intp)
        self._not_first = np.array(settings.suppressed_first, dtype=np.intp)
        self._end = special.end
        self._timestamps = special.timestamps if timestamps else None
        self._max_first_timestamp = settings.max_first_timestamp

    def apply(self, logits: Logits, written: Sequence[Sequence[int]]) -> None:
        """Set the logits of tokens that may not follow to minus infinity, in place.

        logits: shape (hypotheses, vocabulary), float32. written: the tokens of each hypothesis, without the prompt.
        """
        logits[:, self._never] = -np.inf
        for row, tokens in zip(logits, written, strict=True):
            if not tokens:
                row[self._not_first] = -np.inf
            if self._timestamps is not None:
                _order_timestamps(row, tokens, self._timestamps, self._end, self._max_first_timestamp)


def _order_timestamps(
    row: NDArray[np.float32], tokens: Sequence[int], timestamps: range, end: int, max_first: int | None
) -> None:
    """Apply the rules of timestamps to the logits of one hypothesis, shape (vocabulary,), in place.

    A segment begins and ends with a timestamp, its text is between them, and times do not decrease. A segment that
    ends in the text's last timestamp may lack its second one. Whatever is above the timestamps is text.
    """
    first, stop = timestamps.start, timestamps.stop
    if not tokens:
        row[:first] = row[stop:] = -np.inf
        if max_first is not None:
            row[first + max_first + 1 :] = -np.inf
        return
    after_timestamp = tokens[-1] in timestamps
    begins_segment = after_timestamp and (len(tokens) < 2 or tokens[-2] in timestamps)
    if begins_segment:
        row[first:stop] = -np.inf
    elif after_timestamp:
        row[:end] = row[stop:] = -np.inf
    last = next((token for token in reversed(tokens) if token in timestamps), None)
    if last is not None:
        # The next segment may begin when this one ends, but a segment does not end when it begins.
        row[first : last if after_timestamp and not begins_segment else last + 1] = -np.inf
    # A timestamp follows if all timestamps together are more probable than any single other token.
    most_probable = max(row[:first].max(), row[stop:].max(initial=-np.inf))
    if _log_sum_exp(row[first:stop]) > most_probable:
        row[:first] = row[stop:] = -np.inf


def _log_sum_exp(values: NDArray[np.float32]) -> float:
    """log(sum(exp(values))), also where all values are minus infinity."""
    highest = float(values.max())
    return highest if np.isneginf(highest) else highest + float(np.log(np.exp(values - highest).sum()))
