"""Recognition with a Whisper model: speech in a clip -> windows -> text of each window, checked -> segments."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.errors import InvalidParameter
from app.families.whisper.language import Clip, Language, SpeechWindow
from app.families.whisper.model import TOKENS_AT_LEAST, Encoded, WhisperModel, WindowOutput
from app.families.whisper.segments import WhisperDecoder
from app.families.whisper.windows import cut
from app.recognizer import Agreement, Hypothesis, Options, Samples, Window, Windowing, never
from app.voice_activity import VoiceDetector, speech_spans

CONDENSED_TOKENS_PER_S = 8.0
"""Tokens per second of speech beyond which the text of a condensed window is a loop. Fast Turkish has 6; a script that
has more is computed in full windows."""
TOKENS_PER_S = 25.0
"""Limit of the tokens per second of speech in a full window; a letter of some scripts takes three."""
DETECTION_WINDOWS = 3
"""Most windows of a clip in which its language is looked for."""
WINDOW_OVERHEAD_S = 1.5
"""What a condensed window costs besides its audio, in seconds of audio: condensed silence and prompt."""


MAX_PAUSE_S = 2.0
"""Longest pause inside a window. A new window costs little, and a model may invent words for a longer pause."""


class WhisperRecognizer:
    """A `Recognizer` whose outputs are the texts of windows."""

    batches = False

    def __init__(self, model: WhisperModel, windowing: Windowing, detector: VoiceDetector) -> None:
        self.model = model
        self.settings = model.settings
        self.rate_hz = model.rate_hz
        self.window_s = min(windowing.window_s or math.inf, self.settings.window_s)
        self._detector = detector

    def condensing(self, condenses: bool) -> "WhisperRecognizer":
        """The same recognizer with or without condensed silence."""
        return WhisperRecognizer(self.model.condensing(condenses), Windowing(self.window_s), self._detector)

    def check_options(self, options: Options) -> None:
        """Raises InvalidParameter for what the model or its export cannot do."""
        languages = self.settings.special.languages
        for code in filter(None, (options.language, *options.languages)):
            if code not in languages and (languages or code != "en"):
                known = ", ".join(sorted(languages)) or "en"
                raise InvalidParameter(f"the model does not know the language {code!r}; it knows {known}")
        if options.task == "translate" and not self.settings.can_translate:
            raise InvalidParameter("the model cannot translate")
        if options.prompt and self.settings.special.previous is None:
            raise InvalidParameter("the model takes no prompt")
        self.model.check_keywords(options)
        if options.word_times and not self.model.times_words:
            raise InvalidParameter("this export of the model cannot time words: export it in Dikte's own layout")

    @property
    def detects_language(self) -> bool:
        """Whether the model is multilingual."""
        return self.settings.is_multilingual

    def windows(self, samples: Samples, options: Options = Options()) -> list[SpeechWindow]:
        """The parts of a clip in which somebody speaks, cut at pauses into windows that do not overlap."""
        probabilities = self._detector.probabilities(samples)
        spans = speech_spans(probabilities, len(samples))
        longest = int(self.window_s * self.rate_hz)
        clip = Clip()
        windows = [
            SpeechWindow(samples[span.start : span.end], span.start, clip)
            for span in cut(spans, probabilities, longest, int(MAX_PAUSE_S * self.rate_hz))
        ]
        clip.beginning = [window.samples for window in windows[:DETECTION_WINDOWS]]
        return windows

    def is_audible(self, samples: Samples) -> bool:
        """Whether there is anything but digital silence."""
        return len(samples) > 0 and bool(np.ptp(samples) > 0)

    def compute(
        self, windows: Sequence[Window], options: Options = Options(), cancelled: Callable[[], bool] = never
    ) -> list[WindowOutput]:
        """The text of each window. Raises Cancelled between two steps of the decoder."""
        return [self._compute(window, options, cancelled) for window in windows]

    def decoder(self, options: Options = Options()) -> WhisperDecoder:
        """A decoder for one clip."""
        return WhisperDecoder(self.settings)

    def cost_s(self, duration_s: float) -> float:
        """The duration and a constant for each window, which is larger if silence is not condensed."""
        windows = max(1, -(-duration_s // self.window_s))
        overhead_s = WINDOW_OVERHEAD_S if self.model.condenses else self.settings.window_s / 2
        return duration_s + windows * overhead_s

    def check(self, window: Window, output: WindowOutput) -> None:
        """Raises ArtifactError unless all probabilities are numbers."""
        if not np.isfinite([*output.log_probabilities, output.no_speech_probability]).all():
            raise ArtifactError("the model gave tokens whose probabilities are no numbers")

    def hypothesis(self, window: Window) -> Hypothesis:
        """Prompt, most probable tokens and end, with the log-probability of each of them after the first."""
        encoded = self._encode_evidence(window)
        language = self._language(window, Options(), encoded)
        prompt = self.model.prompt(Options(), language)
        output = self.model.transcribe(encoded, prompt, Options(), 0.0, CONDENSED_TOKENS_PER_S, never)
        tokens = (*prompt.tokens, *output.tokens, self.settings.special.end)
        return Hypothesis(tokens, (0.0, *self.model.score(encoded, tokens)))

    def difference(self, expected: Hypothesis, window: Window) -> float:
        """The mean change of the expected tokens' probabilities, 0 to 1.

        1 if the model does not have the tokens or not that many; a NaN counts as 1.
        """
        tokens = expected.tokens
        if not 1 < len(tokens) <= self.settings.max_tokens or max(tokens) >= self.settings.vocabulary_size:
            return 1.0
        now = np.exp(self.model.score(self._encode_evidence(window), tokens))
        before = np.exp(np.array(expected.log_probabilities[1:]))
        return float(np.nan_to_num(np.abs(now - before), nan=1.0, posinf=1.0).clip(max=1.0).mean())

    def compare(
        self, windows: Sequence[Window], expected: Sequence[WindowOutput], other: Sequence[WindowOutput]
    ) -> Agreement:
        """Compare outputs token by token; log-probabilities only up to the first different token of a window."""
        differences, steps, same = [0.0], 0, 0
        for one, two in zip(expected, other, strict=True):
            steps += max(len(one.tokens), len(two.tokens))
            blocks = SequenceMatcher(None, one.tokens, two.tokens, autojunk=False).get_matching_blocks()
            same += sum(block.size for block in blocks)
            for index, (token, other_token) in enumerate(zip(one.tokens, two.tokens, strict=False)):
                if token != other_token:
                    break
                differences.append(abs(one.log_probabilities[index] - two.log_probabilities[index]))
        same_text = [one.text for one in expected] == [two.text for two in other]
        return Agreement(float(np.max(differences)), steps, same, same_text)

    def _encode_evidence(self, window: Window) -> Encoded:
        """Encode a clip of the evidence, condensed if the graphs can, whether that is proven or not.

        It shows that this machine computes the same numbers, in a short time.
        """
        return self.model.condensing(True).encode(window.samples)

    def _compute(self, window: Window, options: Options, cancelled: Callable[[], bool]) -> WindowOutput:
        """The text of the condensed window if it passes the checks, else that of the full one.

        If none passes, the best of all.
        """
        model = self.model
        encoded = model.encode(window.samples)
        language = self._language(window, options, encoded)
        # With word times, timestamps are not needed, and models write worse with them.
        timestamps = options.segment_times and not model.times_words and self.settings.has_timestamps
        options = replace(options, word_times=options.word_times or (options.segment_times and model.times_words))
        prompt = model.prompt(options, language, timestamps)
        condensed = encoded.condensed
        outputs: list[WindowOutput] = []
        if condensed:
            temperature = options.temperatures[0]
            output = model.transcribe(encoded, prompt, options, temperature, CONDENSED_TOKENS_PER_S, cancelled)
            if passes(output, options):
                return output
            outputs.append(replace(output, retried=True))
            encoded = model.encode(window.samples, full=True)
        tokens, most_tokens = 0, options.retry_factor * usual_tokens(len(window.samples) / self.rate_hz)
        for temperature in options.temperatures:
            output = model.transcribe(encoded, prompt, options, temperature, TOKENS_PER_S, cancelled)
            outputs.append(replace(output, retried=condensed))
            if is_silence(output, options):
                return outputs[-1].emptied()
            if passes(output, options):
                return outputs[-1]
            tokens += len(output.tokens)
            if not sampling_may_help(output, options) or tokens >= most_tokens:
                break
        return max(outputs, key=lambda output: rank(output, options))

    def _language(self, window: Window, options: Options, encoded: Encoded) -> Language | None:
        """The language of a window's clip; None for a model of one language."""
        if not self.settings.is_multilingual:
            return None
        if options.language is not None:
            return Language(options.language)
        clip = window.clip if isinstance(window, SpeechWindow) else Clip()

        def detect(beginning: Sequence[Samples]) -> Language:
            found: list[NDArray[np.float64]] = []
            for samples in beginning or [window.samples]:
                part = encoded if samples is window.samples else self.model.encode(samples)
                found.append(self.model.detect_language(part, options.languages))
                if found[-1].max() >= options.language_threshold:
                    return self._most_probable(found[-1])
            return self._most_probable(np.mean(found, axis=0))

        return clip.language(detect)

    def _most_probable(self, probabilities: NDArray[np.float64]) -> Language:
        codes = list(self.settings.special.languages)
        return Language(codes[int(probabilities.argmax())], float(probabilities.max()))


def passes(output: WindowOutput, options: Options) -> bool:
    """Whether an output looks like the text of a window: complete, not repetitive, and probable.

    An infinite threshold accepts all texts.
    """
    return (
        (output.finished or math.isinf(options.compression_ratio_threshold))
        and output.compression_ratio <= options.compression_ratio_threshold
        and output.average_log_probability >= options.log_probability_threshold
    )


def sampling_may_help(output: WindowOutput, options: Options) -> bool:
    """Whether a higher temperature may give a text that passes: this one repeats itself or is not complete.

    A sample breaks a loop. But it is no more probable than the text at temperature 0, so if a text fails only because
    it is improbable, samples fail too.
    """
    return not output.finished or output.compression_ratio > options.compression_ratio_threshold


def usual_tokens(duration_s: float) -> float:
    """Tokens that the text of a window rarely exceeds."""
    return TOKENS_AT_LEAST + CONDENSED_TOKENS_PER_S * duration_s


def is_silence(output: WindowOutput, options: Options) -> bool:
    """Whether the model takes a window for silence and doubts its text."""
    return (
        output.no_speech_probability > options.no_speech_threshold
        and output.average_log_probability < options.log_probability_threshold
    )


def rank(output: WindowOutput, options: Options) -> tuple[bool, bool, float]:
    """Order of outputs that do not pass: complete ones without repetition are the best, cut-off ones without repetition
    are next, and the more probable one of equals.
    """
    repetitive = output.compression_ratio > options.compression_ratio_threshold
    return output.finished and not repetitive, not repetitive, output.average_log_probability
