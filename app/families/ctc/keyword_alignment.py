"""Where the letters of a keyword are in the frames in which it was found."""

from collections.abc import Sequence

import numpy as np

from app.families.ctc.decoding import Emissions, Run


def align_letters(
    emissions: Emissions, letters: Sequence[Sequence[int]], silent: Sequence[int], first_frame: int
) -> list[Run]:
    """The best alignment of letters to frames, as a run for each letter.

    emissions: of the keyword's frames, shape (frames, vocabulary), float32. letters: the ids of the tokens of each
    letter. silent: ids of the tokens between letters. first_frame: number of the first frame. Raises ValueError if
    there are fewer frames than the letters need.

    States are gap, letter, gap ... letter, gap, as in A. Graves et al., Connectionist Temporal Classification, ICML
    2006, section 4.1, with a maximum instead of the sum.
    """
    gap = emissions[:, list(silent)].max(axis=1)
    states = np.empty((len(emissions), 2 * len(letters) + 1))
    states[:, ::2] = gap[:, None]
    for place, ids in enumerate(letters):
        states[:, 2 * place + 1] = emissions[:, list(ids)].max(axis=1)
    states = np.maximum(states, -1e6)  # digital silence
    skips = np.zeros(states.shape[1], dtype=np.bool_)
    skips[1::2] = [place > 0 and letters[place - 1] != ids for place, ids in enumerate(letters)]
    scores = np.full(states.shape[1], -np.inf)
    scores[:2] = states[0, :2]
    steps = np.zeros(states.shape, dtype=np.int8)
    for frame in range(1, len(states)):
        one, two = np.roll(scores, 1), np.roll(scores, 2)
        one[0], two[:2] = -np.inf, -np.inf
        two[~skips] = -np.inf
        ways = np.stack([scores, one, two])
        steps[frame] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + states[frame]
    state = len(scores) - 1 if scores[-1] > scores[-2] else len(scores) - 2
    if not np.isfinite(scores[state]):
        raise ValueError("there are fewer frames than letters")
    path = np.empty(len(states), dtype=np.intp)
    for frame in reversed(range(len(states))):
        path[frame] = state
        state -= int(steps[frame, state])
    runs = []
    for place, ids in enumerate(letters):
        frames = np.flatnonzero(path == 2 * place + 1)
        start, end = int(frames[0]), int(frames[-1]) + 1
        log_probability = float(states[start:end, 2 * place + 1].max())
        runs.append(Run(ids[0], first_frame + start, first_frame + end, log_probability))
    return runs
