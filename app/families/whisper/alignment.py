"""Word times from cross-attention: the decoder attends to the audio of a word while it writes the word.

Source: timing.py in openai/whisper (find_alignment, add_word_timestamps). Attention weights of the alignment heads are
normalized, smoothed and averaged; dynamic time warping finds the path along which tokens follow the audio.
"""

import math
import string
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from app.families.whisper.vocabulary import Vocabulary
from app.transcript import Word

MEDIAN_WIDTH = 7
"""Width of the median filter along the positions."""
WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose words are not separated by spaces; each character is timed by itself."""
OPENING, CLOSING = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # as in openai/whisper
"""Punctuation that belongs to the word after it, and to the word before it."""
SENTENCE_END = ".。!！?？"
MAX_MEDIAN_S = 0.7
"""The median duration of words is taken to be at most this. Words twice as long at a pause include the pause."""


def align(
    scores: NDArray[np.float32],
    first_row: int,
    tokens: Sequence[int],
    log_probabilities: Sequence[float],
    vocabulary: Vocabulary,
    language: str | None,
    position_s: float,
    duration_s: float,
) -> tuple[Word, ...]:
    """The words of a window, with times in seconds from its start.

    scores: query times key of the alignment heads, shape (heads, tokens read, positions), float32; positions of the
    audio only, not of its padding. first_row: index of the token after which the text begins. tokens: of the text.
    log_probabilities: of each of them. position_s: seconds of a position. duration_s: of the window.
    """
    groups = split_words(tokens, vocabulary, language)
    if not groups:
        return ()
    begins_s = token_positions(scores, first_row)[: len(tokens) + 1] * position_s
    ends = list(accumulate(len(group) for group in groups))
    starts = [0, *ends[:-1]]
    spans = [
        (min(float(begins_s[start]), duration_s), min(float(begins_s[end]), duration_s))
        for start, end in zip(starts, ends, strict=True)
    ]
    texts = [vocabulary.decode(group) for group in groups]
    spans = without_pauses(spans, texts)
    return tuple(
        Word(
            text.strip(),
            start_s,
            end_s,
            math.exp(min(0.0, sum(log_probabilities[start:end]) / (end - start))),
            space_before=text.startswith(" "),
        )
        for text, (start_s, end_s), start, end in zip(texts, spans, starts, ends, strict=True)
        if text.strip()
    )


def token_positions(scores: NDArray[np.float32], first_row: int) -> NDArray[np.intp]:
    """The position at which each token begins, from the first token of the text to the end token.

    scores, first_row: as in `align`. Shape (tokens read - first_row,), never decreasing.
    """
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    deviation = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    matrix = median_filter(weights, MEDIAN_WIDTH).mean(axis=0)[first_row:]
    rows, positions = time_warp(-matrix.astype(np.float64))
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    return positions[begins]


def median_filter(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """The median over `width` values along the last axis, whose ends are mirrored; as it is if it is too short."""
    half = width // 2
    if values.shape[-1] <= half:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="reflect")
    return np.asarray(np.median(sliding_window_view(padded, width, axis=-1), axis=-1), dtype=values.dtype)


def time_warp(costs: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cheapest monotonic path through a matrix, shape (rows, columns), from its first to its last element.

    Returns rows and columns along the path. Dynamic time warping: H. Sakoe and S. Chiba, "Dynamic programming algorithm
    optimization for spoken word recognition", 1978; steps are diagonal, down or right, and the diagonal must be
    strictly cheaper, as in openai/whisper. Cells of one anti-diagonal depend on the two before it only, so each is
    computed at once.
    """
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    steps = np.zeros((rows + 1, columns + 1), dtype=np.int8)
    for diagonal in range(2, rows + columns + 1):
        row = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        column = diagonal - row
        both, down, right = total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]
        step = np.where((both < down) & (both < right), 0, np.where((down < both) & (down < right), 1, 2))
        total[row, column] = costs[row - 1, column - 1] + np.choose(step, (both, down, right))
        steps[row, column] = step
    steps[0, :], steps[:, 0] = 2, 1
    row_path, column_path = [], []
    row_index, column_index = rows, columns
    while row_index > 0 or column_index > 0:
        row_path.append(row_index - 1)
        column_path.append(column_index - 1)
        step_taken = steps[row_index, column_index]
        row_index -= step_taken != 2
        column_index -= step_taken != 1
    return np.array(row_path[::-1], dtype=np.intp), np.array(column_path[::-1], dtype=np.intp)


def split_words(tokens: Sequence[int], vocabulary: Vocabulary, language: str | None) -> list[list[int]]:
    """Groups of tokens that are one word each, punctuation included. language: ISO 639-1 code."""
    characters = split_characters(tokens, vocabulary)
    if language in WITHOUT_SPACES:
        return merge_punctuation(characters, vocabulary)
    words: list[list[int]] = []
    for group in characters:
        text = vocabulary.decode(group)
        if not words or text.startswith(" ") or text.strip() in set(string.punctuation):
            words.append([])
        words[-1] += group
    return merge_punctuation(words, vocabulary)


def split_characters(tokens: Sequence[int], vocabulary: Vocabulary) -> list[list[int]]:
    """Groups of tokens, each as small as possible without a letter that is split between two groups."""
    groups: list[list[int]] = []
    complete = True
    for token in tokens:
        if complete:
            groups.append([])
        groups[-1].append(token)
        complete = is_complete(b"".join(vocabulary.pieces.get(part, b"") for part in groups[-1]))
    return groups


def is_complete(text: bytes) -> bool:
    """Whether bytes do not end within a letter of UTF-8. Bytes that are no UTF-8 at all count as complete."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


def merge_punctuation(words: Sequence[Sequence[int]], vocabulary: Vocabulary) -> list[list[int]]:
    """Add opening punctuation to the word after it and closing punctuation to the word before it."""
    merged: list[list[int]] = []
    opened: list[int] = []
    for word in words:
        text = vocabulary.decode(word)
        if (text.startswith(" ") or opened) and text.strip() in OPENING:
            opened += word
        elif text.strip() and text in CLOSING and merged and not opened:
            merged[-1] += word
        else:
            merged.append([*opened, *word])
            opened = []
    return [*merged, opened] if opened else merged


def without_pauses(spans: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[tuple[float, float]]:
    """Shorten words that include the pause before or after them, as openai/whisper does.

    spans: start and end of each word, in seconds. texts: of each word.
    """
    durations = [end - start for start, end in spans if end > start]
    longest_s = 2 * min(MAX_MEDIAN_S, float(np.median(durations))) if durations else 0.0
    shortened: list[tuple[float, float]] = []
    for index, (start, end) in enumerate(spans):
        if 0 < longest_s < end - start:
            ends_sentence = texts[index].strip()[-1:] in SENTENCE_END and texts[index].strip() != ""
            follows_sentence = index == 0 or texts[index - 1].strip()[-1:] in SENTENCE_END
            if ends_sentence:
                end = start + longest_s
            elif follows_sentence:
                start = end - longest_s
        shortened.append((start, end))
    return shortened
