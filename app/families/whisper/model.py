"""What a Whisper model computes for one window: encoding, language, tokens, word times and scores."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidParameter
from app.families.whisper.alignment import align
from app.families.whisper.graphs import WhisperGraphs
from app.families.whisper.language import Language
from app.families.whisper.padding import Layout, condensed_layout, full_layout
from app.families.whisper.rules import Rules
from app.families.whisper.search import Found, Prompt, Search, log_softmax, search
from app.families.whisper.settings import FRAMES_PER_POSITION, WhisperSettings
from app.families.whisper.word_edges import trimmed
from app.keywords import FIELD as KEYWORDS_FIELD
from app.keywords import Keyword
from app.recognizer import Options, Samples
from app.runtimes.graph import Tensors
from app.transcript import Word


@dataclass(frozen=True)
class WindowOutput:
    """The text of one window.

    prompt: tokens before the text. tokens: of the text. log_probabilities: of each token and, if it is finished, of the
    end. finished: the model wrote the end; if not, a limit was reached. text: without timestamps. language: None for a
    model of one language. language_probability: None if the caller named the language. average_log_probability,
    compression_ratio, no_speech_probability: what the checks look at. condensed: the silence behind the window was
    condensed. timestamps: the tokens include timestamps. retried: the text with condensed silence did not pass the
    checks. words: with times in seconds from the start of the window; only if they were asked for.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finished: bool
    text: str
    language: str | None
    language_probability: float | None
    temperature: float
    average_log_probability: float
    compression_ratio: float
    no_speech_probability: float
    condensed: bool
    timestamps: bool
    retried: bool = False
    words: tuple[Word, ...] = ()

    def emptied(self) -> "WindowOutput":
        """The same without its text: nobody speaks."""
        return replace(self, tokens=(), log_probabilities=(), text="", words=())


@dataclass(frozen=True)
class Encoded:
    """An encoded window.

    tensors: what the decoder needs of it. samples: without padding, shape (samples,), float32. condensed: whether its
    silence is condensed.
    """

    tensors: Tensors
    samples: Samples
    condensed: bool


class WhisperModel:
    """A loaded model. Thread-safe.

    condenses: whether the silence behind a clip is condensed (`app.families.whisper.padding`); if not, every window is
    padded to the longest one, which the model was trained on.
    """

    def __init__(self, settings: WhisperSettings, graphs: WhisperGraphs, condenses: bool) -> None:
        self.settings = settings
        self.rate_hz = settings.log_mel.rate_hz
        self.can_condense = graphs.takes_any_layout
        self.condenses = condenses and graphs.takes_any_layout
        self.times_words = graphs.has_queries
        self._graphs = graphs
        self._samples_per_position = FRAMES_PER_POSITION * settings.log_mel.hop
        self._rules = Rules(settings, timestamps=False)
        self._rules_with_timestamps = Rules(settings, settings.has_timestamps)

    def condensing(self, condenses: bool) -> "WhisperModel":
        """The same model with or without condensed silence, if its graphs can condense it."""
        return WhisperModel(self.settings, self._graphs, condenses)

    def layout(self, samples: int) -> Layout:
        """The positions of a window with so many samples."""
        longest = self.settings.positions
        if not self.condenses:
            return full_layout(longest)
        return condensed_layout(min(longest, -(-samples // self._samples_per_position)), longest)

    def encode(self, samples: Samples, *, full: bool = False) -> Encoded:
        """Encode a window, shape (samples,), float32. full: do not condense its silence."""
        layout = full_layout(self.settings.positions) if full else self.layout(len(samples))
        features = self.settings.log_mel(samples, FRAMES_PER_POSITION * len(layout.positions))
        return Encoded(self._graphs.encode(features, layout), samples, not layout.is_full)

    def detect_language(self, encoded: Encoded, languages: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each language of the model, in the order of its settings.

        languages: codes of the languages that count; empty for all. Shape (languages,), float64.
        """
        special = self.settings.special
        session = self._graphs.session(encoded.tensors, hypotheses=1, capacity=1)
        logits = session(np.array([[special.start]], dtype=np.int64), [0])[0, 0]
        scores = logits[list(special.languages.values())].astype(np.float64)
        if languages:
            counts = np.isin(list(special.languages), list(languages))
            scores[~counts] = -np.inf
        exponentials = np.exp(scores - scores.max())
        return np.asarray(exponentials / exponentials.sum())

    def prompt(self, options: Options, language: Language | None, timestamps: bool = False) -> Prompt:
        """The tokens before the text. language: None for a model of one language."""
        special = self.settings.special
        tokens = [special.start]
        if language is not None:
            task = special.translate if options.task == "translate" else special.transcribe
            tokens += [special.languages[language.code], *([] if task is None else [task])]
        if not timestamps and special.no_timestamps is not None:
            tokens.append(special.no_timestamps)
        before = self._before(options)
        return Prompt((*before, *tokens), len(before), language, timestamps)

    @property
    def _most_before(self) -> int:
        """Most tokens of the text that comes before, as in openai/whisper."""
        return self.settings.max_tokens // 2 - 1

    def _glossary(self, keywords: Sequence[Keyword]) -> list[int]:
        """The tokens of a list of keywords, as it could stand before the text."""
        if not keywords:
            return []
        return self.settings.vocabulary.encode(f" {', '.join(keyword.text for keyword in keywords)}.")

    def _before(self, options: Options) -> list[int]:
        """The tokens of the keywords and of the prompt, which loses its beginning if both are too long."""
        special = self.settings.special
        if special.previous is None or not (options.prompt or options.keywords):
            return []
        glossary = self._glossary(options.keywords)
        prompt = self.settings.vocabulary.encode(f" {options.prompt.strip()}") if options.prompt else []
        most = self._most_before - len(glossary)
        return [special.previous, *glossary, *prompt[max(0, len(prompt) - most) :]]

    def check_keywords(self, options: Options) -> None:
        """Raises InvalidParameter for keywords that do not fit into the text that comes before."""
        if not options.keywords:
            return
        if self.settings.special.previous is None:
            raise InvalidParameter("the model takes no keywords", field=KEYWORDS_FIELD)
        tokens = len(self._glossary(options.keywords))
        if tokens > self._most_before:
            raise InvalidParameter(
                f"the keywords have {tokens} tokens; the model takes {self._most_before}",
                field=KEYWORDS_FIELD,
                tokens=tokens,
                max_tokens=self._most_before,
            )

    def transcribe(
        self,
        encoded: Encoded,
        prompt: Prompt,
        options: Options,
        temperature: float,
        tokens_per_s: float,
        cancelled: Callable[[], bool],
    ) -> WindowOutput:
        """Find the text of a window. Raises Cancelled between two steps of the decoder.

        tokens_per_s: limit of the number of tokens, to which `TOKENS_AT_LEAST` are added.
        """
        settings = self.settings
        limit = TOKENS_AT_LEAST + tokens_per_s * len(encoded.samples) / self.rate_hz
        limit = int(min(limit, settings.max_tokens // 2, settings.max_tokens - len(prompt.tokens)))
        how = Search(temperature, options.beam_size, limit)
        session = self._graphs.session(encoded.tensors, how.hypotheses, len(prompt.tokens) + limit)
        rules = self._rules_with_timestamps if prompt.timestamps else self._rules
        special = settings.special
        found = search(session, prompt, rules, how, special.end, special.no_speech, cancelled)
        text, language = settings.vocabulary.decode(found.tokens), prompt.language
        output = WindowOutput(
            prompt=prompt.tokens,
            tokens=found.tokens,
            log_probabilities=found.log_probabilities,
            finished=found.finished,
            text=text.strip(),
            language=None if language is None else language.code,
            language_probability=None if language is None else language.probability,
            temperature=temperature,
            average_log_probability=found.average_log_probability,
            compression_ratio=compression_ratio(text),
            no_speech_probability=found.no_speech,
            condensed=encoded.condensed,
            timestamps=prompt.timestamps,
        )
        return replace(output, words=self._words(encoded, prompt, found)) if options.word_times else output

    def _written_language(self, prompt: Prompt) -> str | None:
        """ISO 639-1 code of the text; a translation is English."""
        if prompt.language is None:
            return None
        translates = self.settings.special.translate in prompt.tokens[prompt.start :]
        return TRANSLATED if translates else prompt.language.code

    def score(self, encoded: Encoded, tokens: Sequence[int]) -> tuple[float, ...]:
        """The log-probability of each token after the first, given those before it."""
        session = self._graphs.session(encoded.tensors, hypotheses=1, capacity=len(tokens))
        logits = session(np.array([tokens[:-1]], dtype=np.int64), range(len(tokens) - 1))[0]
        return tuple(float(log_softmax(row)[token]) for row, token in zip(logits, tokens[1:], strict=True))

    def _words(self, encoded: Encoded, prompt: Prompt, found: Found) -> tuple[Word, ...]:
        """Words with times, from cross-attention and silence, while the decoder reads the text without timestamps."""
        special, vocabulary = self.settings.special, self.settings.vocabulary
        pairs = [
            (token, value)
            for token, value in zip(found.tokens, found.log_probabilities, strict=False)
            if token in vocabulary.pieces
        ]
        if not pairs:
            return ()
        tokens = [token for token, _ in pairs]
        before = list(prompt.tokens[prompt.start :])
        if special.no_timestamps is not None and before[-1] != special.no_timestamps:
            before.append(special.no_timestamps)
        read = np.array([[*before, *tokens]], dtype=np.int64)
        session = self._graphs.session(encoded.tensors, hypotheses=1, capacity=read.shape[1])
        session(read, [read.shape[1] - 1])
        positions = -(-len(encoded.samples) // self._samples_per_position)
        scores = session.attention_scores()[:, :, :positions]
        words = align(
            scores,
            first_row=len(before) - 1,
            tokens=tokens,
            log_probabilities=[value for _, value in pairs],
            vocabulary=vocabulary,
            language=self._written_language(prompt),
            position_s=self.settings.time_step_s,
            duration_s=len(encoded.samples) / self.rate_hz,
        )
        return trimmed(words, encoded.samples, self.rate_hz)


TRANSLATED = "en"
"""The only language into which Whisper translates."""
TOKENS_AT_LEAST = 12
"""Tokens that a window of any length may have."""


def compression_ratio(text: str) -> float:
    """How much shorter zlib makes a text, as openai/whisper computes it: repetitive text above 2.4."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))
