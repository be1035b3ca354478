"""The channels of one clip, transcribed in step: their windows in one order, and their segments in another.

Windows of all channels are computed by their start, so no channel is ahead of the others, and a long call is one job.
A segment is final once its channel's decoder says so, but it is only yielded when no channel can have an earlier one.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from app.recognizer import Decoder, Window
from app.transcript import Segment


@dataclass
class Channel:
    """One channel on its way. number: in the file; None if there is only one, or all were mixed.

    windows: its windows, in order. decoder: for them. done: how many of them were decoded.
    """

    number: int | None
    windows: Sequence[Window]
    decoder: Decoder[Any]
    done: int = 0

    def decode(self, output: Any) -> list[Segment]:
        """Take the output of its next window. Returns the segments that are final, as those of its speaker."""
        segments = self.decoder.add(self.windows[self.done], output)
        self.done += 1
        if self.done == len(self.windows):
            segments += self.decoder.finish()
        return segments if self.number is None else [spoken_in(self.number, segment) for segment in segments]

    def earliest_s(self, rate_hz: int) -> float:
        """No segment that is not final yet starts before this time, in seconds."""
        if self.done == len(self.windows):
            return inf
        pending_s = self.decoder.pending_s
        return self.windows[self.done].start / rate_hz if pending_s is None else pending_s


class Merger:
    """The windows of all channels by their start, and the segments of all by theirs."""

    def __init__(self, channels: Sequence[Channel], rate_hz: int) -> None:
        self._channels = channels
        self._rate_hz = rate_hz
        order = [(window.start, index, window) for index, channel in enumerate(channels) for window in channel.windows]
        order.sort(key=lambda entry: entry[:2])
        self.windows: list[Window] = [window for _, _, window in order]
        """The order in which the windows are computed, and their outputs are added."""
        self._turns = [index for _, index, _ in order]
        self._added = 0
        self._waiting: list[tuple[float, int, int, Segment]] = []
        self._taken = 0

    def add(self, output: Any) -> list[Segment]:
        """Take the output of the next of `windows`. Returns the segments that come next, by their start."""
        index = self._turns[self._added]
        self._added += 1
        for segment in self._channels[index].decode(output):
            heapq.heappush(self._waiting, (segment.start_s, index, self._taken, segment))
            self._taken += 1
        earliest_s = min(channel.earliest_s(self._rate_hz) for channel in self._channels)
        ready = []
        while self._waiting and self._waiting[0][0] <= earliest_s:
            ready.append(heapq.heappop(self._waiting)[-1])
        return ready


def spoken_in(channel: int, segment: Segment) -> Segment:
    """The segment, as that of a channel and its speaker."""
    speaker = speaker_of(channel)
    words = tuple(replace(word, channel=channel, speaker=speaker) for word in segment.words)
    return replace(segment, words=words, channel=channel, speaker=speaker)


def speaker_of(channel: int) -> str:
    """The name of a channel's speaker: A, B, ..."""
    return chr(ord("A") + channel)
