"""Segments -> subtitles that people can read: two lines, long enough on the screen, no word split, pauses kept.

The usual limits of subtitles (Netflix Timed Text Style Guide, general requirements): two lines of 42 characters, 17
characters a second, a second at least and seven at most, two frames between subtitles.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from app.transcript import Segment, joined

MAX_LINES = 2
MAX_SUBTITLE_S = 7.0
GAP_S = 0.08
"""Between subtitles, so that the eye notices the change: two frames at 25 per second."""
LEAD_IN_S = 0.5
"""A subtitle that would be too short may come so much before its first word."""
MAX_LAG_S = 2.0
"""A subtitle may come so much after its first word, where somebody speaks faster than people read. Beyond that the
reading speed yields, so that text and sound stay together."""
LONG_PAUSE_S = 1.0
"""A pause at which it is as good to divide a text as in its middle."""
PUNCTUATION = tuple(".?!,;:…。？！、，")
PUNCTUATION_BONUS = 0.3
"""How much better a text is divided after punctuation; 1 is the difference between its middle and its end."""


@dataclass(frozen=True)
class SubtitleStyle:
    """line_characters: most characters of a line. characters_per_s: reading speed. min_s: least seconds of a subtitle.

    A word that is longer than a line is not split.
    """

    line_characters: int = 42
    characters_per_s: float = 17.0
    min_s: float = 1.0


@dataclass(frozen=True)
class Subtitle:
    """Lines that are shown together, with start and end in seconds from the start of the clip.

    speaker: who speaks; None if that is not known.
    """

    lines: tuple[str, ...]
    start_s: float
    end_s: float
    speaker: str | None = None


@dataclass(frozen=True)
class _Unit:
    """Text that is not split: a word, or one character of a script without spaces."""

    text: str
    start_s: float
    end_s: float
    space_before: bool = True


_Cue = tuple[_Unit, ...]
"""The units of a subtitle, before its times are decided."""


def subtitles(segments: Sequence[Segment], duration_s: float, style: SubtitleStyle = SubtitleStyle()) -> list[Subtitle]:
    """The subtitles of a clip of `duration_s` seconds, sorted by their start.

    Those of one speaker never overlap; those of several do where they speak at the same time.
    """
    found: list[Subtitle] = []
    for speaker in dict.fromkeys(segment.speaker for segment in segments):
        layout = _Layout(style, speaker)
        said = [segment for segment in segments if segment.speaker == speaker]
        found += layout.timed(layout.merged([cue for segment in said for cue in layout.divided(segment)]), duration_s)
    return sorted(found, key=lambda subtitle: (subtitle.start_s, subtitle.end_s))


class _Layout:
    """Lays out what one speaker says. The speaker's name takes space on the first line."""

    def __init__(self, style: SubtitleStyle, speaker: str | None) -> None:
        self._style = style
        self._speaker = speaker
        self._indent = 0 if speaker is None else len(f"{speaker}: ")

    def divided(self, segment: Segment) -> list[_Cue]:
        """Divide a segment until each part fits: at pauses, after punctuation, near the middle."""
        waiting, cues = [_units(segment)], list[_Cue]()
        while waiting:
            units = waiting.pop()
            if len(units) <= 1 or self._fits(units):
                cues += [units] if units else []
                continue
            place = min(range(1, len(units)), key=lambda place: _cost(units, place))
            waiting += [units[place:], units[:place]]
        return cues

    def merged(self, cues: Sequence[_Cue]) -> list[_Cue]:
        """Join each cue that would be too short with the next, where both together fit."""
        merged: list[_Cue] = []
        for cue in cues:
            if merged:
                available_s = cue[0].start_s - merged[-1][0].start_s - GAP_S
                both = (*merged[-1], *cue)
                if available_s < self._style.min_s and self._fits(both):
                    merged[-1] = both
                    continue
            merged.append(cue)
        return merged

    def timed(self, cues: Sequence[_Cue], duration_s: float) -> list[Subtitle]:
        """Give each cue its time, in order: it lasts from its first word to its last, and long enough to be read."""
        timed: list[Subtitle] = []
        free_s = 0.0  # from here on nothing is shown
        spoken_s = 0.0  # words may overlap or lie within one another; starts do not run backwards
        for number, cue in enumerate(cues, start=1):
            following = cues[number] if number < len(cues) else None
            spoken_s = max(spoken_s, cue[0].start_s)
            needed_s = self._needed_s(cue)
            start_s = max(spoken_s, free_s)
            next_s = duration_s if following is None else max(spoken_s, following[0].start_s) - GAP_S
            missing_s = min(max(0.0, start_s + needed_s - next_s), LEAD_IN_S)
            start_s = max(free_s, start_s - missing_s)
            end_s = max(start_s + needed_s, min(max(unit.end_s for unit in cue), next_s, start_s + MAX_SUBTITLE_S))
            if following is not None:
                end_s = min(end_s, max(next_s + MAX_LAG_S, start_s + self._style.min_s))
            timed.append(Subtitle(self._lines(cue), start_s, end_s, self._speaker))
            free_s = end_s + GAP_S
        return timed

    def _needed_s(self, cue: _Cue) -> float:
        """Seconds that people need to read a cue."""
        return max(self._style.min_s, _length(cue) / self._style.characters_per_s)

    def _fits(self, units: _Cue) -> bool:
        """Whether units can be one subtitle: short enough, on two lines."""
        if units[-1].end_s - units[0].start_s > MAX_SUBTITLE_S:
            return False
        return self._length(units) <= self._style.line_characters or self._line_break(units) is not None

    def _length(self, units: _Cue) -> int:
        """Characters of the first line."""
        return self._indent + _length(units)

    def _line_break(self, units: _Cue) -> int | None:
        """Where the second of two lines of about the same length begins; None if two lines do not suffice."""
        most = self._style.line_characters
        lengths = {place: (self._length(units[:place]), _length(units[place:])) for place in range(1, len(units))}
        places = [place for place, lines in lengths.items() if max(lines) <= most]
        return min(places, key=lambda place: abs(lengths[place][0] - lengths[place][1]), default=None)

    def _lines(self, units: _Cue) -> tuple[str, ...]:
        place = None if self._length(units) <= self._style.line_characters else self._line_break(units)
        return (_text(units),) if place is None else (_text(units[:place]), _text(units[place:]))


def _units(segment: Segment) -> _Cue:
    """The words of a segment or, if it has none, those of its text, at times in proportion to their length."""
    if segment.words:
        return tuple(_Unit(word.text, word.start_s, word.end_s, word.space_before) for word in segment.words)
    parts = [
        (part, number == 0)
        for word in segment.text.split()
        for number, part in enumerate([*word] if _is_without_spaces(word) else [word])
    ]
    characters = sum(len(part) for part, _ in parts)
    units, passed = [], 0
    for part, space_before in parts:
        begin, passed = passed, passed + len(part)
        length_s = segment.end_s - segment.start_s
        start_s, end_s = (segment.start_s + length_s * place / characters for place in (begin, passed))
        units.append(_Unit(part, start_s, end_s, space_before))
    return tuple(units)


def _is_without_spaces(word: str) -> bool:
    """Whether a text is in a script without spaces, whose characters are wide."""
    return all(unicodedata.east_asian_width(character) in "WF" for character in word)


def _cost(units: _Cue, place: int) -> float:
    """How bad it is to divide units before the unit at `place`."""
    whole = _length(units)
    imbalance = abs(2 * _length(units[:place]) - whole) / whole
    pause_s = min(max(0.0, units[place].start_s - units[place - 1].end_s), LONG_PAUSE_S)
    punctuated = PUNCTUATION_BONUS if units[place - 1].text.endswith(PUNCTUATION) else 0.0
    return imbalance - pause_s / LONG_PAUSE_S - punctuated


def _length(units: _Cue) -> int:
    return len(_text(units))


def _text(units: _Cue) -> str:
    return re.sub(r"\s+", " ", joined(units)).strip()
