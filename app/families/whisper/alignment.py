"""Word times from cross-attention: the decoder attends to the audio of a word while it writes the word.

Source: timing.py in openai/whisper (find_alignment, add_word_timestamps). Attention weights of the alignment heads are
normalized, smoothed and averaged; dynamic time warping finds the path along which tokens follow the audio.
"""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from app.families.whisper.vocabulary import Vocabulary
from app.transcript import Word

MEDIAN_WIDTH = 7
"""Width of the median filter along the positions."""
MEDIAN_NETWORK = (
    *((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6)),
    *((2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4)),
)
"""Exchanges after which the median of 7 values is in the middle (N. Devillard, "Fast median search: an ANSI C
implementation", 1998). Each puts the smaller of two values first. For whole arrays this is many times as fast as
sorting each window."""
WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose words are not separated by spaces; each character is timed by itself."""
OPENING, CLOSING = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # as in openai/whisper
"""Punctuation that belongs to the word after it, and to the word before it."""
PUNCTUATION = frozenset(string.punctuation + OPENING + CLOSING)
SENTENCE_END = ".。!！?？"
DIAGONAL, DOWN, RIGHT = range(3)
"""Steps of a path through a matrix: to the next row and column, to the next row, to the next column."""
MAX_MEDIAN_S = 0.7
"""The median duration of words is taken to be at most this. Words twice as long at a pause include the pause."""


@dataclass(frozen=True)
class TokenGroup:
    """The tokens of one word: those from `start` to `end`, of which `spoken_start` to `spoken_end` are not punctuation.

    All are indices of the text's tokens. Punctuation is not spoken: its tokens attend to the pause beside the word.
    """

    start: int
    spoken_start: int
    spoken_end: int
    end: int


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
    begins_s = np.minimum(token_positions(scores, first_row) * position_s, duration_s).tolist()
    texts = [vocabulary.decode(tokens[group.start : group.end]) for group in groups]
    spans = without_pauses([(begins_s[group.spoken_start], begins_s[group.spoken_end]) for group in groups], texts)
    return tuple(
        Word(
            text.strip(),
            start_s,
            end_s,
            mean_probability(log_probabilities[group.start : group.end]),
            space_before=text[0].isspace() or (group.start == 0 and language not in WITHOUT_SPACES),
        )
        for text, (start_s, end_s), group in zip(texts, spans, groups, strict=True)
        if text.strip()
    )


def mean_probability(log_probabilities: Sequence[float]) -> float:
    """Geometric mean of one or more probabilities, 0 to 1; 0 if one is NaN."""
    mean = sum(log_probabilities) / len(log_probabilities)
    return 0.0 if math.isnan(mean) else math.exp(min(0.0, mean))


def token_positions(scores: NDArray[np.float32], first_row: int) -> NDArray[np.intp]:
    """The position at which each token begins, from the first token of the text to the end token.

    scores, first_row: as in `align`; scores that are not finite count as 0. Shape (tokens read - first_row,), never
    decreasing.
    """
    scores = np.where(np.isfinite(scores), scores, np.float32(0))
    weights = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    deviation = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    matrix = np.mean([median_filter(head[first_row:]) for head in weights], axis=0)
    rows, positions = time_warp(-matrix.astype(np.float64))
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    return positions[begins]


def median_filter(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median over `MEDIAN_WIDTH` values along the last axis, whose ends are mirrored.

    Shape (..., positions), also of the result. As in openai/whisper, values too few to be mirrored stay as they are.
    """
    half, positions = MEDIAN_WIDTH // 2, values.shape[-1]
    if positions <= half:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half, half)], mode="reflect")
    shifted = [padded[..., shift : shift + positions] for shift in range(MEDIAN_WIDTH)]
    for low, high in MEDIAN_NETWORK:
        shifted[low], shifted[high] = np.minimum(shifted[low], shifted[high]), np.maximum(shifted[low], shifted[high])
    return shifted[half]


def time_warp(costs: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cheapest monotonic path through a matrix, shape (rows, columns), from its first to its last element.

    Returns rows and columns along the path. Dynamic time warping: H. Sakoe and S. Chiba, "Dynamic programming algorithm
    optimization for spoken word recognition", 1978; steps are diagonal, down or right. As in openai/whisper, a step
    diagonal or down must be strictly cheaper than both others; where these two cost the same, the step is right, even
    if that costs more. Cells of one anti-diagonal depend on the two before it only, so each is computed at once.
    """
    rows, columns = costs.shape
    # Each row one place further right than the row above, so that an anti-diagonal is a column; then transposed.
    padded = np.pad(costs, ((0, 0), (0, rows)), constant_values=np.inf)
    diagonals = padded.ravel()[: rows * (rows + columns - 1)].reshape(rows, -1).T.copy()
    steps = np.full(diagonals.shape, RIGHT, dtype=np.int8)
    # Cheapest total up to each cell of the last two anti-diagonals, after a border: element i + 1 is of row i.
    before_last, last, totals = np.full((3, rows + 1), np.inf)
    before_last[0] = 0
    for cells, step in zip(diagonals, steps, strict=True):
        both, down, right = before_last[:-1], last[:-1], last[1:]
        is_both = both < np.minimum(down, right)
        is_down = down < np.minimum(both, right)
        step[is_both] = DIAGONAL
        step[is_down] = DOWN
        cheapest = np.where(is_both, both, np.where(is_down, down, right))
        np.add(cells, cheapest, out=totals[1:])
        before_last[0] = np.inf
        before_last, last, totals = last, totals, before_last
    row, column = rows - 1, columns - 1
    path = [(row, column)]
    while row > 0 or column > 0:
        step_taken = steps[row + column, row]
        if row == 0:
            step_taken = RIGHT
        elif column == 0:
            step_taken = DOWN
        row -= step_taken != RIGHT
        column -= step_taken != DOWN
        path.append((row, column))
    row_path, column_path = np.array(path[::-1], dtype=np.intp).T
    return row_path, column_path


def split_words(tokens: Sequence[int], vocabulary: Vocabulary, language: str | None) -> list[TokenGroup]:
    """Groups of tokens that are one word each, with its punctuation. language: ISO 639 code.

    As in openai/whisper, but a token of several marks, such as `?"`, is punctuation too.
    """
    parts = split_characters(tokens, vocabulary)
    if language not in WITHOUT_SPACES:
        parts = join_characters(parts, vocabulary)
    texts = [vocabulary.decode(part) for part in parts]
    ends = list(accumulate(len(part) for part in parts))
    groups: list[TokenGroup] = []
    opened_at: int | None = None
    for text, start, end in zip(texts, [0, *ends], ends, strict=False):
        marks = text.strip()
        if (text[:1].isspace() or opened_at is not None) and marks in {"", *OPENING}:
            opened_at = start if opened_at is None else opened_at
        elif text and set(text) <= set(CLOSING) and groups and opened_at is None:
            groups[-1] = replace(groups[-1], end=end)
        else:
            groups.append(TokenGroup(start if opened_at is None else opened_at, start, end, end))
            opened_at = None
    if opened_at is not None:
        groups.append(TokenGroup(opened_at, opened_at, len(tokens), len(tokens)))
    return groups


def join_characters(characters: Sequence[Sequence[int]], vocabulary: Vocabulary) -> list[list[int]]:
    """Groups of tokens between spaces, with punctuation by itself. characters: groups of `split_characters`."""
    words: list[list[int]] = []
    for group in characters:
        text = vocabulary.decode(group)
        if not words or text[:1].isspace() or PUNCTUATION.issuperset(text):
            words.append([])
        words[-1] += group
    return words


def split_characters(tokens: Sequence[int], vocabulary: Vocabulary) -> list[list[int]]:
    """Groups of tokens, each as small as possible without a letter that is split between two groups.

    A letter that the next token does not continue remains incomplete.
    """
    groups: list[list[int]] = []
    text = b""
    for token in tokens:
        piece = vocabulary.pieces.get(token, b"")
        if is_complete(text) or not continues_letter(piece):
            groups.append([])
            text = b""
        groups[-1].append(token)
        text += piece
    return groups


def is_complete(text: bytes) -> bool:
    """Whether bytes do not end within a letter of UTF-8. Bytes that are no UTF-8 at all count as complete."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


def continues_letter(text: bytes) -> bool:
    """Whether the first byte is a continuation byte of UTF-8, 0b10xxxxxx."""
    return bool(text) and text[0] & 0b1100_0000 == 0b1000_0000


def ends_sentence(text: str) -> bool:
    """Whether a word ends with a mark that ends sentences, within quotation marks or not."""
    return text.rstrip("\"'”)]} ").endswith(tuple(SENTENCE_END))


def without_pauses(spans: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[tuple[float, float]]:
    """Shorten words that include the pause before them, as openai/whisper does.

    These are words after the end of a sentence, and the first word of the window, or the first two. spans: start and
    end of each word, in seconds from the start of the window. texts: of each word, with its punctuation.
    """
    durations_s = [end_s - start_s for start_s, end_s in spans if end_s > start_s]
    if not durations_s:
        return list(spans)
    median_s = min(MAX_MEDIAN_S, float(np.median(durations_s)))
    longest_s = 2 * median_s
    shortened = list(spans)
    for index, (start_s, end_s) in enumerate(spans):
        if index > 0 and ends_sentence(texts[index - 1]):
            shortened[index] = (max(start_s, end_s - longest_s), end_s)
    start_s, end_s = shortened[0]
    second_start_s, second_end_s = shortened[1] if len(shortened) > 1 else (end_s, end_s)
    is_long = end_s - start_s > longest_s or second_end_s - start_s > 2 * longest_s
    if end_s > 2 * longest_s and is_long:
        if second_end_s - second_start_s > longest_s:
            end_s = max(second_end_s / 2, second_end_s - longest_s)
            shortened[1] = (end_s, second_end_s)
        shortened[0] = (max(0.0, end_s - longest_s), end_s)
    return shortened
