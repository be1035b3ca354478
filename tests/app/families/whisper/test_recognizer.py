"""What a Whisper recognizer decides: language, second tries, temperatures, silence. The model is scripted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from app.artifacts import ArtifactError, open_artifact
from app.errors import InvalidParameter
from app.families.whisper.language import Clip, SpeechWindow
from app.families.whisper.model import Encoded, WhisperModel, WindowOutput
from app.families.whisper.recognizer import WhisperRecognizer
from app.families.whisper.search import Prompt
from app.families.whisper.settings import WhisperSettings, read_settings
from app.recognizer import UNCHECKED, Options, Samples, Window, Windowing, never
from app.voice_activity import VoiceDetector
from tests.whisper_checkpoints import LANGUAGES, make_whisper

HZ = 16_000
GOOD = WindowOutput(
    prompt=(),
    tokens=(1, 2),
    log_probabilities=(-0.1, -0.2, -0.3),
    finished=True,
    text="fine",
    language="tr",
    language_probability=None,
    temperature=0.0,
    average_log_probability=-0.2,
    compression_ratio=1.2,
    no_speech_probability=0.01,
    condensed=True,
    timestamps=False,
)
LOOP = replace(GOOD, text="loop", compression_ratio=9.0)
CUT_OFF = replace(GOOD, text="cut off", finished=False)
DOUBTFUL = replace(GOOD, text="doubtful", average_log_probability=-1.5)
SILENT = replace(DOUBTFUL, text="silent", no_speech_probability=0.9)


@dataclass
class Scripted:
    """Stands for a `WhisperModel`: returns the outputs one after the other, and notes what it was asked."""

    settings: WhisperSettings
    outputs: list[WindowOutput] = field(default_factory=list)
    languages: list[dict[str, float]] = field(default_factory=list)
    condenses: bool = True
    times_words: bool = True
    rate_hz: int = HZ
    asked: list[tuple[bool, float, str | None]] = field(default_factory=list)
    options: list[Options] = field(default_factory=list)
    encoded: list[int] = field(default_factory=list)
    allowed: list[Sequence[str]] = field(default_factory=list)

    def encode(self, samples: Samples, *, full: bool = False) -> Encoded:
        self.encoded.append(len(samples))
        return Encoded({}, samples, self.condenses and not full)

    def check_keywords(self, options: Options) -> None:
        pass

    def detect_language(self, encoded: Encoded, languages: Sequence[str]) -> NDArray[np.float64]:
        self.allowed.append(languages)
        found = self.languages.pop(0)
        return np.array([found.get(code, 0.0) for code in self.settings.special.languages])

    def prompt(self, options: Options, language: object, timestamps: bool = False) -> Prompt:
        return Prompt((0,), 0, cast(None, language), timestamps)

    def transcribe(
        self,
        encoded: Encoded,
        prompt: Prompt,
        options: Options,
        temperature: float,
        tokens_per_s: float,
        cancelled: Callable[[], bool],
    ) -> WindowOutput:
        language = None if prompt.language is None else prompt.language.code
        self.asked.append((encoded.condensed, temperature, language))
        self.options.append(options)
        probability = None if prompt.language is None else prompt.language.probability
        output = replace(self.outputs.pop(0), language=language, language_probability=probability)
        return replace(output, condensed=encoded.condensed, temperature=temperature, timestamps=prompt.timestamps)


@pytest.fixture
def settings(checkpoints: Path) -> WhisperSettings:
    return read_settings(open_artifact(make_whisper(checkpoints)))


@pytest.fixture
def english(checkpoints: Path) -> WhisperSettings:
    return read_settings(open_artifact(make_whisper(checkpoints, multilingual=False)))


def recognizer_on(model: Scripted) -> WhisperRecognizer:
    return WhisperRecognizer(cast(WhisperModel, model), Windowing(), cast(VoiceDetector, None))


def window(duration_s: float = 4.0) -> Window:
    return Window(np.ones(int(duration_s * HZ), dtype=np.float32))


TURKISH = Options(language="tr")


class TestSecondTries:
    def run(self, settings: WhisperSettings, *outputs: WindowOutput, options: Options = TURKISH) -> Scripted:
        """Compute one window; all scripted outputs must be used."""
        self.model = Scripted(settings, list(outputs))
        (self.output,) = recognizer_on(self.model).compute([window()], options)
        assert not self.model.outputs
        return self.model

    def test_a_good_text_with_condensed_silence_is_final(self, settings: WhisperSettings) -> None:
        model = self.run(settings, GOOD)
        assert model.asked == [(True, 0.0, "tr")]
        assert self.output.text == "fine"

    @pytest.mark.parametrize("first", [LOOP, CUT_OFF, DOUBTFUL, SILENT], ids=lambda output: output.text)
    def test_a_text_that_fails_is_computed_again_in_a_full_window(
        self, settings: WhisperSettings, first: WindowOutput
    ) -> None:
        model = self.run(settings, first, GOOD)
        assert model.asked == [(True, 0.0, "tr"), (False, 0.0, "tr")]
        assert self.output == replace(GOOD, condensed=False, retried=True)

    def test_temperatures_rise_until_a_text_passes(self, settings: WhisperSettings) -> None:
        model = self.run(settings, LOOP, LOOP, CUT_OFF, GOOD)
        assert model.asked[1:] == [(False, 0.0, "tr"), (False, 0.2, "tr"), (False, 0.4, "tr")]

    def test_an_improbable_text_is_not_sampled_because_samples_are_less_probable(
        self, settings: WhisperSettings
    ) -> None:
        model = self.run(settings, DOUBTFUL, DOUBTFUL)
        assert model.asked == [(True, 0.0, "tr"), (False, 0.0, "tr")]
        assert self.output.text == "doubtful"
        self.run(settings, LOOP, LOOP, DOUBTFUL)
        assert (self.output.text, self.output.temperature) == ("doubtful", 0.2)

    def test_the_condensed_window_may_have_the_best_text(self, settings: WhisperSettings) -> None:
        first = replace(DOUBTFUL, text="first", average_log_probability=-1.1)
        self.run(settings, first, DOUBTFUL)
        assert (self.output.text, self.output.condensed, self.output.retried) == ("first", True, True)
        cut_off = replace(CUT_OFF, average_log_probability=-0.5)
        self.run(settings, cut_off, DOUBTFUL)
        assert self.output.text == "doubtful", "a complete text is better than one that is cut off"

    def test_the_tokens_of_all_temperatures_are_limited(self, settings: WhisperSettings) -> None:
        long = replace(CUT_OFF, tokens=(1,) * 44)  # as many as 4 s of speech usually have
        model = self.run(settings, LOOP, *[long] * 3)
        assert [temperature for _, temperature, _ in model.asked[1:]] == [0.0, 0.2, 0.4]
        self.run(settings, LOOP, *[long] * 5, options=replace(TURKISH, retry_factor=4.1))
        self.run(settings, LOOP, long, options=replace(TURKISH, retry_factor=0))
        self.run(settings, LOOP, *[LOOP] * 6)

    def test_full_windows_are_computed_once(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD], condenses=False)
        recognizer_on(model).compute([window()], TURKISH)
        assert model.asked == [(False, 0.0, "tr")]

    def test_silence_has_no_text_and_ends_the_search(self, settings: WhisperSettings) -> None:
        self.run(settings, LOOP, SILENT)
        assert (self.output.text, self.output.tokens) == ("", ())
        assert self.output.no_speech_probability == 0.9

    def test_the_best_of_texts_that_fail_repeats_nothing_and_is_the_most_probable(
        self, settings: WhisperSettings
    ) -> None:
        worse = replace(CUT_OFF, text="worse", average_log_probability=-0.9)
        self.run(settings, *[LOOP] * 3, worse, CUT_OFF, LOOP, LOOP)
        assert self.output.text == "cut off"
        self.run(settings, *[LOOP] * 3, CUT_OFF, worse, LOOP, DOUBTFUL)
        assert self.output.text == "doubtful", "it is complete"

    def test_thresholds_and_temperatures_are_options(self, settings: WhisperSettings) -> None:
        options = replace(TURKISH, compression_ratio_threshold=10.0, log_probability_threshold=-2.0)
        self.run(settings, LOOP, options=options)
        self.run(settings, DOUBTFUL, options=options)
        worse = replace(DOUBTFUL, average_log_probability=-1.9)
        self.run(settings, worse, SILENT, options=replace(TURKISH, temperatures=(0.0,), no_speech_threshold=0.95))
        assert self.output.text == "silent"

    def test_checks_of_the_engine_compute_once(self, settings: WhisperSettings) -> None:
        for output in (LOOP, CUT_OFF, DOUBTFUL, SILENT):
            self.run(settings, output, options=replace(UNCHECKED, language="tr"))


class TestTimes:
    def options_of(self, settings: WhisperSettings, options: Options, times_words: bool) -> tuple[Options, bool]:
        model = Scripted(settings, [GOOD], times_words=times_words)
        (output,) = recognizer_on(model).compute([window()], options)
        return model.options[0], output.timestamps

    def test_segments_are_timed_by_their_words_if_possible(self, settings: WhisperSettings) -> None:
        wanted, timestamps = self.options_of(settings, replace(TURKISH, segment_times=True), times_words=True)
        assert wanted.word_times
        assert not timestamps

    def test_and_by_timestamps_if_not(self, settings: WhisperSettings) -> None:
        wanted, timestamps = self.options_of(settings, replace(TURKISH, segment_times=True), times_words=False)
        assert not wanted.word_times
        assert timestamps

    def test_nobody_pays_for_times_that_nobody_wants(self, settings: WhisperSettings) -> None:
        wanted, timestamps = self.options_of(settings, TURKISH, times_words=True)
        assert not wanted.word_times
        assert not timestamps


class TestLanguage:
    def test_it_is_detected_once_for_a_clip(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD] * 3, languages=[{"tr": 0.9, "en": 0.1}])
        clip = Clip()
        windows = [SpeechWindow(window().samples, start, clip) for start in (0, HZ, 2 * HZ)]
        clip.beginning = [part.samples for part in windows]
        recognizer = recognizer_on(model)
        outputs = [recognizer.compute([part])[0] for part in reversed(windows)]
        assert [output.language for output in outputs] == ["tr"] * 3
        assert [output.language_probability for output in outputs] == [0.9] * 3
        assert len(model.encoded) == 4, "the last window was computed first, and the first encoded for the language"

    def test_an_unsure_beginning_is_not_enough(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD], languages=[{"tr": 0.3, "en": 0.35}, {"tr": 0.7}])
        clip = Clip()
        clip.beginning = [window().samples, window(5).samples, window(6).samples]
        (output,) = recognizer_on(model).compute([SpeechWindow(clip.beginning[0], 0, clip)])
        assert (output.language, output.language_probability) == ("tr", 0.7)

    def test_if_nothing_is_sure_the_mean_decides(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD], languages=[{"tr": 0.3, "en": 0.4}, {"tr": 0.45, "en": 0.2}])
        clip = Clip()
        clip.beginning = [window().samples, window(5).samples]
        (output,) = recognizer_on(model).compute([SpeechWindow(clip.beginning[0], 0, clip)])
        assert output.language == "tr"
        assert output.language_probability == pytest.approx(0.375)

    def test_it_is_detected_among_the_languages_that_are_allowed(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD], languages=[{"tr": 0.9}])
        recognizer_on(model).compute([window()], Options(languages=("tr", "en")))
        assert model.allowed == [("tr", "en")]

    def test_a_named_language_is_not_detected(self, settings: WhisperSettings) -> None:
        model = Scripted(settings, [GOOD])
        (output,) = recognizer_on(model).compute([window()], Options(language="de"))
        assert (output.language, output.language_probability) == ("de", None)
        assert model.allowed == []

    def test_a_model_of_one_language_has_none(self, english: WhisperSettings) -> None:
        model = Scripted(english, [GOOD])
        (output,) = recognizer_on(model).compute([window()])
        assert output.language is None


class TestOptions:
    @pytest.mark.parametrize("options", [Options(language="fi"), Options(languages=("tr", "fi"))])
    def test_an_unknown_language_is_refused(self, settings: WhisperSettings, options: Options) -> None:
        known = ", ".join(sorted(LANGUAGES))
        with pytest.raises(InvalidParameter, match=f"does not know the language 'fi'; it knows {known}"):
            recognizer_on(Scripted(settings)).check_options(options)

    def test_an_english_model_takes_english_only(self, english: WhisperSettings) -> None:
        recognizer = recognizer_on(Scripted(english))
        recognizer.check_options(Options(language="en"))
        with pytest.raises(InvalidParameter, match="it knows en"):
            recognizer.check_options(Options(language="tr"))
        with pytest.raises(InvalidParameter, match="cannot translate"):
            recognizer.check_options(Options(task="translate"))

    def test_what_the_model_can_is_accepted(self, settings: WhisperSettings) -> None:
        options = Options(language="tr", languages=("tr",), task="translate", prompt="Dikte", word_times=True)
        recognizer_on(Scripted(settings)).check_options(options)

    def test_words_need_an_export_that_can_time_them(self, settings: WhisperSettings) -> None:
        with pytest.raises(InvalidParameter, match="cannot time words"):
            recognizer_on(Scripted(settings, times_words=False)).check_options(Options(word_times=True))


class TestComparison:
    def test_tokens_are_aligned(self, settings: WhisperSettings) -> None:
        one = replace(GOOD, tokens=(1, 2, 3, 4, 5), log_probabilities=(-0.1, -0.2, -0.3, -0.4, -0.5, -0.6), text="a")
        two = replace(GOOD, tokens=(1, 2, 9, 4, 5), log_probabilities=(-0.1, -0.25, -9, -9, -9, -9), text="b")
        agreement = recognizer_on(Scripted(settings)).compare([window()] * 2, [one, one], [two, one])
        assert agreement.max_difference == pytest.approx(0.05)
        assert (agreement.steps, agreement.same_steps) == (10, 9)
        assert not agreement.same_text

    def test_outputs_that_are_no_numbers_are_refused(self, settings: WhisperSettings) -> None:
        recognizer = recognizer_on(Scripted(settings))
        recognizer.check(window(), GOOD)
        with pytest.raises(ArtifactError, match="no numbers"):
            recognizer.check(window(), replace(GOOD, log_probabilities=(np.nan, 0, 0)))

    def test_windows_cost_more_if_they_are_padded(self, settings: WhisperSettings) -> None:
        short, padded = (recognizer_on(Scripted(settings, condenses=condenses)) for condenses in (True, False))
        assert short.cost_s(3) < padded.cost_s(3)
        assert short.cost_s(3) < short.cost_s(10) < short.cost_s(300)

    def test_only_digital_silence_is_inaudible(self, settings: WhisperSettings) -> None:
        recognizer = recognizer_on(Scripted(settings))
        assert not recognizer.is_audible(np.zeros(100, np.float32))
        assert not recognizer.is_audible(np.zeros(0, np.float32))
        assert recognizer.is_audible(np.array([0, 1e-6, 0], np.float32))


def test_cancellation_reaches_the_model(settings: WhisperSettings) -> None:
    seen: list[Callable[[], bool]] = []

    class Watching(Scripted):
        def transcribe(self, *arguments: object) -> WindowOutput:
            seen.append(cast(Callable[[], bool], arguments[-1]))
            return GOOD

    recognizer_on(Watching(settings)).compute([window()], TURKISH, never)
    assert seen == [never]
