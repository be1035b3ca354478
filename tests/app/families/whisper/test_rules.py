import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, WhisperForConditionalGeneration
from transformers.generation.logits_process import (
    LogitsProcessorList,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from app.artifacts import open_artifact
from app.families.whisper.rules import Logits, Rules
from app.families.whisper.settings import WhisperSettings, read_settings
from tests.checkpoints import babbling
from tests.whisper_checkpoints import make_whisper

PROMPT = [1, 2, 3]
"""Stands for the tokens of the prompt, which the rules do not look at."""
STEPS = 40
GAINS = [0.0, 3.0, 6.0]
"""What is added to the logits of text: with none, timestamps win; with more, there is text between them."""


@pytest.fixture(params=[{}, {"multilingual": False}], ids=["multilingual", "English-only"])
def settings(request: pytest.FixtureRequest, checkpoints: Path) -> WhisperSettings:
    return settings_of(checkpoints, **request.param)


def settings_of(checkpoints: Path, **variant: object) -> WhisperSettings:
    return read_settings(open_artifact(make_whisper(checkpoints, **variant)))


def processors_of(settings: WhisperSettings, timestamps: bool) -> LogitsProcessorList:
    """Those of `WhisperForConditionalGeneration.generate`, in its order."""
    begin = len(PROMPT)
    processors: list[object] = [
        SuppressTokensAtBeginLogitsProcessor(settings.suppressed_first, begin),
        SuppressTokensLogitsProcessor(settings.suppressed),
    ]
    if timestamps:
        config = GenerationConfig(
            eos_token_id=settings.special.end,
            no_timestamps_token_id=settings.special.no_timestamps,
            max_initial_timestamp_index=settings.max_first_timestamp,
        )
        processors.append(WhisperTimeStampLogitsProcessor(config, begin_index=begin))
    return LogitsProcessorList(processors)


def random_logits(settings: WhisperSettings, hypotheses: int, seed: int, gain: float) -> Logits:
    random = np.random.default_rng(seed)
    size = settings.special.timestamps.stop
    logits = random.normal(0, 3, (hypotheses, size)).astype(np.float32)
    logits[:, : settings.special.timestamps.start] += np.float32(gain)
    return logits


def decode(
    settings: WhisperSettings,
    rules: Callable[[Logits, list[list[int]]], Logits],
    hypotheses: int,
    gain: float,
    choose: Callable[[Logits, int], list[int]],
) -> tuple[list[list[int]], list[Logits]]:
    """The tokens of each hypothesis, on random logits, and the logits after the rules of each step."""
    written: list[list[int]] = [[] for _ in range(hypotheses)]
    steps = []
    for step in range(STEPS):
        logits = rules(random_logits(settings, hypotheses, step, gain), written)
        steps.append(logits)
        for tokens, token in zip(written, choose(logits, step), strict=True):
            tokens.append(token)
    return written, steps


def greedy(logits: Logits, step: int) -> list[int]:
    return [int(token) for token in logits.argmax(axis=1)]


def sampled(logits: Logits, step: int) -> list[int]:
    """Any token that may follow."""
    random = np.random.default_rng(step)
    return [int(random.choice(np.flatnonzero(np.isfinite(row)))) for row in logits]


@pytest.mark.parametrize("choose", [greedy, sampled])
@pytest.mark.parametrize("hypotheses", [1, 5])
@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no timestamps"])
def test_each_step_is_that_of_transformers(
    settings: WhisperSettings,
    timestamps: bool,
    gain: float,
    hypotheses: int,
    choose: Callable[[Logits, int], list[int]],
) -> None:
    rules, processors = Rules(settings, timestamps), processors_of(settings, timestamps)

    def ours(logits: Logits, written: list[list[int]]) -> Logits:
        rules.apply(logits, written)
        return logits

    def theirs(logits: Logits, written: list[list[int]]) -> Logits:
        tokens = torch.LongTensor([PROMPT + tokens for tokens in written])
        scores = processors(tokens, torch.FloatTensor(logits))
        return np.asarray(scores.numpy())

    written, steps = decode(settings, ours, hypotheses, gain, choose)
    expected, expected_steps = decode(settings, theirs, hypotheses, gain, choose)
    assert written == expected
    for logits, others in zip(steps, expected_steps, strict=True):
        assert np.array_equal(logits, others)


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "no timestamps"])
@pytest.mark.parametrize("variant", [{}, {"multilingual": False}, {"tied": False}], ids=str)
def test_greedy_decoding_writes_the_tokens_of_transformers(
    variant: dict[str, bool], timestamps: bool, checkpoints: Path
) -> None:
    """From samples to tokens, with our features and rules. With timestamps, `generate` decodes anew after the last
    segment that is complete, also in one window; up to there its tokens are those of one pass.
    """
    folder = make_whisper(checkpoints, **variant)
    settings = read_settings(open_artifact(folder))
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    special, times = settings.special, settings.special.timestamps
    prompt, options = [special.start], {}
    if settings.is_multilingual:
        assert special.transcribe is not None
        prompt += [special.languages["tr"], special.transcribe]
        options = {"language": "tr", "task": "transcribe"}
    if not timestamps:
        assert special.no_timestamps is not None
        prompt.append(special.no_timestamps)
    rules = Rules(settings, timestamps)
    for seed in range(4):
        features = torch.from_numpy(settings.log_mel(babbling(3, seed), settings.frames))[None]
        encoded = BaseModelOutput(last_hidden_state=model.model.encoder(features).last_hidden_state.detach())
        written: list[int] = []
        while len(written) < STEPS and special.end not in written:
            with torch.no_grad():
                scores = model(encoder_outputs=encoded, decoder_input_ids=torch.tensor([prompt + written])).logits
            logits = scores[:, -1].numpy()
            rules.apply(logits, [written])
            written.append(int(logits.argmax()))
        generated = model.generate(features, return_timestamps=timestamps, max_new_tokens=STEPS, **options)[0].tolist()
        pairs = [place for place in range(1, len(written)) if {*written[place - 1 : place + 1]} <= {*times}]
        if timestamps and pairs:
            assert generated[: pairs[-1]] == written[: pairs[-1]]
        else:
            assert generated == [token for token in written if token != special.end]


def test_segments_are_pairs_of_increasing_times_around_text(checkpoints: Path) -> None:
    settings = settings_of(checkpoints)
    rules = Rules(settings, timestamps=True)
    times = settings.special.timestamps
    written: list[int] = []
    for step in range(STEPS):
        logits = random_logits(settings, 1, step, gain=3)
        rules.apply(logits, [written])
        written.append(greedy(logits, step)[0])
    assert written[0] in times[: 50 + 1]
    assert sum(token in times for token in written) > 2
    stamps = [token for token in written if token in times]
    assert stamps == sorted(stamps)
    kinds = "".join("t" if token in times else "w" for token in written)
    assert re.fullmatch(r"t(w+tt)*(w+t?)?", kinds), kinds


def test_without_a_limit_the_first_time_may_be_any(checkpoints: Path) -> None:
    settings = settings_of(checkpoints, generation_config=False)
    assert settings.max_first_timestamp is None
    logits = random_logits(settings, 1, 0, gain=0)
    Rules(settings, timestamps=True).apply(logits, [[]])
    assert np.flatnonzero(np.isfinite(logits[0])).tolist() == list(settings.special.timestamps)


def test_an_added_word_is_no_time(checkpoints: Path) -> None:
    """Its id is above those of the timestamps; transformers takes it for one of more than 30 s."""
    settings = settings_of(checkpoints, text_token="Dikteci")
    times, word = settings.special.timestamps, settings.special.timestamps.stop
    rules = Rules(settings, timestamps=True)

    def allowed(*written: int) -> set[int]:
        logits = np.zeros((1, word + 1), dtype=np.float32)
        logits[:, : times.start] = logits[:, word] = 20
        rules.apply(logits, [list(written)])
        return set(np.flatnonzero(np.isfinite(logits[0])).tolist())

    assert word not in allowed()
    assert word in allowed(times[3])
    assert word in allowed(times[3], word)
    assert times[4] in allowed(times[3], word)
    assert times[3] not in allowed(times[3], word)
    assert word not in allowed(times[3], word, times[4])


def test_ids_without_a_token_are_not_written(checkpoints: Path) -> None:
    settings = settings_of(checkpoints, vocabulary_padding=3)
    size = settings.special.timestamps.stop
    logits = np.zeros((2, size + 3), dtype=np.float32)
    Rules(settings, timestamps=False).apply(logits, [[], []])
    assert np.isneginf(logits[:, size:]).all()


def test_logits_of_minus_infinity_stay_so(settings: WhisperSettings) -> None:
    logits = np.full((1, settings.special.timestamps.stop), -np.inf, dtype=np.float32)
    Rules(settings, timestamps=True).apply(logits, [[]])
    assert np.isneginf(logits).all()
