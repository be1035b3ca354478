"""The texts of windows -> segments of a clip."""

import math
from dataclasses import replace

from app.families.whisper.alignment import WITHOUT_SPACES
from app.families.whisper.model import WindowOutput
from app.families.whisper.settings import WhisperSettings
from app.recognizer import Window
from app.segmenting import Segmenter
from app.transcript import Decoding, Segment


class WhisperDecoder:
    """The `Decoder` of one clip. No window changes the segments of another."""

    def __init__(self, settings: WhisperSettings) -> None:
        self._settings = settings

    def add(self, window: Window, output: WindowOutput) -> list[Segment]:
        """Take the output of the next window. Returns its segments.

        With word times, segments are groups of words; with timestamps, those of the model; otherwise one per window.
        """
        if not output.text:
            return []
        start_s = window.start / self._settings.log_mel.rate_hz
        end_s = start_s + len(window.samples) / self._settings.log_mel.rate_hz
        if output.words:
            return self._grouped(output, start_s)
        if output.timestamps:
            return self._timed(output, start_s, end_s)
        return [self._segment(output, slice(None), start_s, end_s)]

    def finish(self) -> list[Segment]:
        """Nothing remains after the last window."""
        return []

    @property
    def pending_s(self) -> None:
        """Nothing remains between windows."""

    def _grouped(self, output: WindowOutput, start_s: float) -> list[Segment]:
        segmenter = Segmenter()
        words = [replace(word, start_s=start_s + word.start_s, end_s=start_s + word.end_s) for word in output.words]
        decoding = self._decoding(output, slice(None))
        return [replace(segment, decoding=decoding) for segment in segmenter.add(words) + segmenter.finish()]

    def _timed(self, output: WindowOutput, window_start_s: float, window_end_s: float) -> list[Segment]:
        """The segments between the timestamps of the model, clamped to the window."""
        timestamps = self._settings.special.timestamps
        segments: list[Segment] = []
        begin_s, tokens = window_start_s, list[int]()
        for place, token in enumerate((*output.tokens, None)):
            if token is not None and token not in timestamps:
                tokens.append(token)
                continue
            time_s = window_end_s
            if token is not None:
                time_s = min(window_start_s + timestamps.index(token) * self._settings.time_step_s, window_end_s)
            if self._settings.vocabulary.decode(tokens).strip():
                part = slice(place - len(tokens), place)
                segments.append(self._segment(output, part, begin_s, max(begin_s, time_s)))
            begin_s, tokens = time_s, []
        return segments

    def _segment(self, output: WindowOutput, part: slice, start_s: float, end_s: float) -> Segment:
        text = self._settings.vocabulary.decode(output.tokens[part])
        confidence = math.exp(min(0.0, output.average_log_probability))
        # A translation has spaces, whatever the language of the speech.
        space_before = text[:1].isspace() or output.language not in WITHOUT_SPACES
        decoding = self._decoding(output, part)
        return Segment(text.strip(), start_s, end_s, confidence, decoding=decoding, space_before=space_before)

    def _decoding(self, output: WindowOutput, part: slice) -> Decoding:
        """How the segment with this part of the window's tokens was decoded."""
        pieces = self._settings.vocabulary.pieces
        return Decoding(
            tokens=tuple(output.tokens[part]),
            temperature=output.temperature,
            average_log_probability=output.average_log_probability,
            compression_ratio=output.compression_ratio,
            no_speech_probability=output.no_speech_probability,
            language=output.language,
            language_probability=output.language_probability,
            pieces=tuple(
                (pieces[token], log_probability)
                for token, log_probability in zip(output.tokens[part], output.log_probabilities[part], strict=False)
                if token in pieces
            ),
        )
