"""Recognition with a CTC model: windows of audio -> emissions, on any runtime -> words and segments."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.errors import InvalidParameter
from app.families.ctc.beam_search import BeamWordDecoder
from app.families.ctc.decoding import AnyWordDecoder, Emissions, WordDecoder, decode_ctc
from app.families.ctc.graph import CtcGraph
from app.families.ctc.keyword_decoder import KeywordDecoder
from app.families.ctc.keyword_spotting import KeywordSpotting
from app.families.ctc.language_model import LanguageModelFolder
from app.families.ctc.settings import CtcSettings, FeatureSettings
from app.families.ctc.windows import Framing, Stitcher, cut, stitch
from app.recognizer import WINDOW_S, Agreement, Hypothesis, Options, Samples, Window, Windowing, never
from app.segmenting import Segmenter
from app.transcript import Segment, Word, joined

SILENCE_STD = 1e-6
"""Standard deviation below which a window is digital silence (or a constant): half a step of 20-bit PCM. Scaled to unit
variance, it would be rounding noise at full loudness."""
VARIANCE_FLOOR = 1e-7
"""Same as in transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm."""
BLANK_LOG_PROBABILITY = 0.0
PROBABILITY_TOLERANCE = 1e-3
"""How much the sum of a frame's probabilities may differ from 1."""


class CtcRecognizer:
    """A `Recognizer` whose outputs are emissions: log-probabilities, shape (frames, vocabulary), float32."""

    def __init__(
        self,
        settings: CtcSettings,
        graph: CtcGraph,
        windowing: Windowing,
        language_model: LanguageModelFolder | None = None,
    ) -> None:
        self.settings = settings
        self._language_model = language_model
        self._graph = graph
        self.rate_hz = settings.features.sample_rate_hz
        self.window_s = windowing.window_s or WINDOW_S
        self._window_frames = settings.framing.frames(int(self.window_s * self.rate_hz))
        self._overlap_frames = settings.framing.frames(int(windowing.overlap_s * self.rate_hz))
        self._spotting = KeywordSpotting(settings)

    def check_options(self, options: Options) -> None:
        """Raises InvalidParameter for options of models that can be told what to write."""
        if options.task != "transcribe":
            raise InvalidParameter("the model cannot translate")
        if options.language is not None or options.languages:
            raise InvalidParameter("the model has one language, which cannot be chosen")
        if options.prompt:
            raise InvalidParameter("the model takes no prompt")
        if options.temperatures[0] > 0:
            raise InvalidParameter("the model draws no samples: it has no temperature")
        self._spotting.check(options)

    detects_language = False

    @property
    def batches(self) -> bool:
        """Whether the windows of one call are computed at once."""
        return self._graph.ragged

    def windows(self, samples: Samples, options: Options = Options()) -> list[Window]:
        """Overlapping windows on the model's frame grid."""
        return cut(samples, self.settings.framing, self._window_frames, self._overlap_frames)

    def is_audible(self, samples: Samples) -> bool:
        """Whether there is at least one frame, and no digital silence."""
        return is_audible(samples, self.settings.framing)

    def compute(
        self, windows: Sequence[Window], options: Options = Options(), cancelled: Callable[[], bool] = never
    ) -> list[Emissions]:
        """The emissions of each window."""
        return self.emissions([window.samples for window in windows])

    def emissions(self, clips: Sequence[Samples]) -> list[Emissions]:
        """Log-probabilities of clips that are no longer than a window, each of shape (frames, vocabulary), float32.

        clips: each of shape (samples,), float32, at the model's rate. A ragged graph computes all of them at once. Any
        other graph computes them one by one: padding would change the result of a model with group norm, and dynamic
        INT8 would use one scale for the batch, so a clip would depend on its neighbours. A clip shorter than one frame
        has no frames.
        """
        emissions = [self._silence(samples) for samples in clips]
        audible = [index for index, samples in enumerate(clips) if self.is_audible(samples)]
        batches = [audible] if self._graph.ragged else [[index] for index in audible]
        for batch in batches:
            if batch:
                for index, logits in zip(batch, self._logits([clips[index] for index in batch]), strict=True):
                    emissions[index] = log_softmax(logits)
        return emissions

    def decoder(self, options: Options = Options()) -> "CtcDecoder":
        """A decoder for one clip.

        The first one with a language model reads it, and raises the errors of `read_language_model`.
        """
        words = self._word_decoder(options)
        spotter = self._spotting.spotter(options)
        if spotter is not None:
            words = KeywordDecoder(words, spotter)
        return CtcDecoder(self.settings, self._overlap_frames, words)

    def _word_decoder(self, options: Options) -> AnyWordDecoder:
        """A beam search if there is a language model; else greedy."""
        loaded = self._language_model.load() if self._language_model is not None and options.language_model else None
        if loaded is None:
            return WordDecoder(self.settings.vocabulary, self.settings.frame_s)
        width = options.language_model_beam
        return BeamWordDecoder(loaded.vocabulary, self.settings.frame_s, loaded.scorer, width)

    def cost_s(self, duration_s: float) -> float:
        """The duration itself: every second costs the same, except for the small part of attention."""
        return duration_s

    def check(self, window: Window, output: Emissions) -> None:
        """Raises ArtifactError unless the emissions are log-probabilities of the expected shape."""
        expected = (self.settings.framing.frames(len(window.samples)), len(self.settings.vocabulary.tokens))
        if output.shape != expected:
            raise ArtifactError(f"the model gave emissions of shape {output.shape}, its settings say {expected}")
        if not np.allclose(np.exp(output).sum(axis=1), 1.0, atol=PROBABILITY_TOLERANCE):
            raise ArtifactError("the model gave emissions that are not probabilities")

    def hypothesis(self, window: Window) -> Hypothesis:
        """The most likely token of each frame."""
        return best_path(*self.emissions([window.samples]))

    def difference(self, expected: Hypothesis, window: Window) -> float:
        """The mean change of the tokens' probabilities, 0 to 1."""
        return probability_change(expected, *self.emissions([window.samples]))

    def compare(
        self, windows: Sequence[Window], expected: Sequence[Emissions], other: Sequence[Emissions]
    ) -> Agreement:
        """Compare emissions frame by frame. Raises ArtifactError if their shapes differ."""
        one, two = self.stitch(windows, expected), self.stitch(windows, other)
        if one.shape != two.shape:
            raise ArtifactError(f"the model gives emissions of shape {two.shape}, its checkpoint of {one.shape}")
        with np.errstate(invalid="ignore"):  # digital silence: minus infinity in both
            difference = np.where(one == two, 0.0, np.abs(one - two))
        return Agreement(
            max_difference=float(difference.max(initial=0.0)),
            steps=len(one),
            same_steps=int((one.argmax(axis=1) == two.argmax(axis=1)).sum()),
            same_text=self.text(one) == self.text(two),
        )

    def stitch(self, windows: Sequence[Window], output: Sequence[Emissions]) -> Emissions:
        """The emissions of a clip from those of its windows, shape (frames, vocabulary)."""
        hop, blank = self.settings.framing.hop, self.settings.vocabulary.blank
        return stitch(windows, output, hop, self._overlap_frames, blank)

    def text(self, emissions: Emissions) -> str:
        """The words in the emissions of a clip, shape (frames, vocabulary), without a language model."""
        words = decode_ctc(emissions, self.settings.vocabulary, self.settings.frame_s)
        return joined(words)

    def _silence(self, samples: Samples) -> Emissions:
        vocabulary = self.settings.vocabulary
        shape = self.settings.framing.frames(len(samples)), len(vocabulary.tokens)
        silence = np.full(shape, -np.inf, dtype=np.float32)
        silence[:, vocabulary.blank] = BLANK_LOG_PROBABILITY
        return silence

    def _logits(self, clips: list[Samples]) -> list[NDArray[np.float32]]:
        """Compute one batch: logits of each clip, shape (frames, vocabulary), cut to its own frames."""
        lengths = np.array([len(samples) for samples in clips], dtype=np.int64)
        values = np.zeros((len(clips), int(lengths.max())), dtype=np.float32)
        for row, samples in zip(values, clips, strict=True):
            row[: len(samples)] = input_values(samples, self.settings.features)
        logits = self._graph(values, lengths)
        framing = self.settings.framing
        return [row[: framing.frames(len(samples))] for row, samples in zip(logits, clips, strict=True)]


class CtcDecoder:
    """The `Decoder` of one clip: emissions of consecutive windows -> words -> segments."""

    def __init__(self, settings: CtcSettings, overlap_frames: int, words: AnyWordDecoder) -> None:
        self._hop = settings.framing.hop
        self._stitcher = Stitcher(overlap_frames, settings.vocabulary.blank)
        self._words = words
        self._segmenter = Segmenter()

    def add(self, window: Window, output: Emissions) -> list[Segment]:
        """Take the emissions of the next window. Returns the segments that later windows cannot change."""
        segments = self._segmenter.add(self._decode(self._stitcher.add(window.start // self._hop, output)))
        return segments + self._segmenter.until(self._words.next_start_s)

    def finish(self) -> list[Segment]:
        """The remaining segments after the last window."""
        words = self._decode(self._stitcher.finish()) + self._words.finish()
        return self._segmenter.add(words) + self._segmenter.finish()

    @property
    def pending_s(self) -> float | None:
        """Start of the first word that is in no segment yet; else of a word that may still begin."""
        start_s = self._segmenter.start_s
        return self._words.next_start_s if start_s is None else start_s

    def _decode(self, parts: list[Emissions]) -> list[Word]:
        return [word for part in parts for word in self._words.add(part)]


def best_path(emissions: Emissions) -> Hypothesis:
    """The most likely token of each frame. emissions: shape (frames, vocabulary)."""
    best = emissions.argmax(axis=1)
    highest = emissions[np.arange(len(best)), best]
    return Hypothesis(tuple(map(int, best)), tuple(map(float, highest)))


def probability_change(expected: Hypothesis, emissions: Emissions) -> float:
    """The mean change of the expected tokens' probabilities in emissions of shape (frames, vocabulary), 0 to 1.

    1 if the number of frames differs or the model does not have the tokens; a NaN frame counts as 1.
    """
    frames, vocabulary = emissions.shape
    if frames != len(expected.tokens) or max(expected.tokens) >= vocabulary:
        return 1.0
    before = np.exp(np.array(expected.log_probabilities))
    now = np.exp(emissions[np.arange(frames), expected.tokens].astype(np.float64))
    return float(np.nan_to_num(np.abs(now - before), nan=1.0, posinf=1.0).clip(max=1.0).mean())


def is_audible(samples: Samples, framing: Framing) -> bool:
    """Whether there is anything to compute: at least one frame, and no digital silence. Shape (samples,), float32."""
    return framing.frames(len(samples)) > 0 and bool(samples.std() >= SILENCE_STD)


def input_values(samples: Samples, features: FeatureSettings) -> Samples:
    """A clip as its model takes it, scaled if the feature extractor scales. Shape (samples,), float32."""
    return zero_mean_unit_variance(samples) if features.normalize else samples


def zero_mean_unit_variance(samples: Samples) -> Samples:
    """(x - mean) / sqrt(variance + 1e-7), as in training. Shape (samples,), float32."""
    scaled = (samples - samples.mean()) / np.sqrt(samples.var() + VARIANCE_FLOOR)
    return np.asarray(scaled, dtype=np.float32)


def log_softmax(logits: NDArray[np.float32]) -> Emissions:
    """Log of the softmax over the last axis, shifted by the maximum to avoid overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32)
