"""What a Whisper model computes for a window, on every runtime, compared with transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from app.errors import InvalidParameter
from app.families.whisper.checkpoint import load_checkpoint
from app.families.whisper.language import Language
from app.families.whisper.model import Encoded, WhisperModel, compression_ratio
from app.families.whisper.padding import Layout, full_layout
from app.families.whisper.recognizer import WhisperRecognizer
from app.keywords import parse_keywords
from app.models import load_recognizer, open_model
from app.recognizer import UNCHECKED, Cancelled, Options, Samples, Window, never
from tests.checkpoints import babbling
from tests.whisper_checkpoints import make_whisper, whisper_artifact

EXACT = ["pytorch", "onnx"]
BACKENDS = [*EXACT, "onnx_int8"]
TURKISH = Language("tr")
LIMIT = 100.0
"""Tokens per second that are enough for random weights."""


def model_on(backend: str, checkpoints: Path, **variant: object) -> WhisperModel:
    folder = (make_whisper if backend == "pytorch" else whisper_artifact)(checkpoints, **variant)
    recognizer = load_recognizer(open_model(folder), backend, threads=1)
    assert isinstance(recognizer, WhisperRecognizer)
    return recognizer.model.condensing(True)


def reference(checkpoints: Path, **variant: object) -> WhisperForConditionalGeneration:
    return load_checkpoint(make_whisper(checkpoints, **variant))


@pytest.fixture(scope="module")
def clip() -> Samples:
    return babbling(2.3, seed=5)


@torch.inference_mode()
def logits_of(
    reference: WhisperForConditionalGeneration, model: WhisperModel, clip: Samples, frames: int, tokens: list[int]
) -> NDArray[np.float32]:
    """Logits after each token, shape (tokens, vocabulary), float32, of the stock model on the same features."""
    encoder, features = reference.model.encoder, torch.from_numpy(model.settings.log_mel(clip, frames))[None]
    positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight[: frames // 2])
    with pytest.MonkeyPatch.context() as patch:  # the stock model takes full windows only
        patch.setitem(encoder._modules, "embed_positions", positions)
        patch.setattr(encoder.config, "max_source_positions", frames // 2)
        encoded = encoder(features).last_hidden_state
    computed = reference(encoder_outputs=BaseModelOutput(encoded), decoder_input_ids=torch.tensor([tokens]))
    return np.asarray(computed.logits[0].numpy(), dtype=np.float32)


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize(
    "variant",
    [{}, {"multilingual": False}, {"mel_bins": 128}, {"decoder_layers": 1}, {"tied": False}],
    ids=["multilingual", "English-only", "128 bins", "distilled", "untied"],
)
@pytest.mark.parametrize("positions", [150, 1500])
def test_tokens_have_the_probabilities_of_transformers(
    backend: str, variant: dict[str, object], positions: int, checkpoints: Path, clip: Samples
) -> None:
    model = model_on(backend, checkpoints, **variant)
    special = model.settings.special
    tokens = [special.start, *(token for token in range(40, 60)), special.end]
    logits = torch.from_numpy(logits_of(reference(checkpoints, **variant), model, clip, 2 * positions, tokens[:-1]))
    expected = torch.log_softmax(logits, dim=-1)[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]
    encoded = encode(model, clip, full_layout(positions))
    np.testing.assert_allclose(model.score(encoded, tokens), expected.numpy(), atol=2e-3)


def encode(model: WhisperModel, clip: Samples, layout: Layout) -> Encoded:
    """Encode a clip in any layout."""
    features = model.settings.log_mel(clip, 2 * len(layout.positions))
    return Encoded(model._graphs.encode(features, layout), clip, not layout.is_full)


@pytest.mark.parametrize("backend", EXACT)
def test_a_position_of_weight_two_is_two_positions(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    special = model.settings.special
    tokens = [special.start, *range(40, 60), special.end]
    audible = -(-len(clip) // 320) + 16
    twice = np.array([*range(audible), 700, 700, 1200, 1200, 1499])
    once, weights = np.array([*range(audible), 700, 1200, 1499]), np.zeros(audible + 3, np.float32)
    weights[audible : audible + 2] = np.log(2)
    expected = model.score(encode(model, clip, Layout(twice, np.zeros(len(twice), np.float32))), tokens)
    np.testing.assert_allclose(model.score(encode(model, clip, Layout(once, weights)), tokens), expected, atol=1e-4)
    unweighted = model.score(encode(model, clip, Layout(once, np.zeros(len(once), np.float32))), tokens)
    assert np.abs(np.subtract(unweighted, expected)).max() > 1e-3, "the weights matter"


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_with_caches_are_those_without(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    encoded = model.encode(clip)
    prompt = model.prompt(UNCHECKED, TURKISH)
    output = model.transcribe(encoded, prompt, UNCHECKED, 0.0, LIMIT, never)
    assert len(output.tokens) > 1, "the test must see some steps"
    # The rules only change log-probabilities where tokens are suppressed, which shifts all others of a step alike.
    session = model._graphs.session(encoded.tensors, 1, 100)
    tokens = [*prompt.tokens, *output.tokens]
    logits = session(np.array([tokens]), range(len(prompt.tokens) - 1, len(tokens)))[0]
    written: list[int] = []
    for row, token in zip(logits, (*output.tokens, model.settings.special.end), strict=False):
        rules = row[np.newaxis].copy()
        model._rules.apply(rules, [written])
        assert rules[0, token] >= rules[0].max() - 1e-2, "the most probable token at this step"
        written.append(token)


@pytest.mark.parametrize("backend", BACKENDS)
def test_beams_share_the_window_and_reorder_their_caches(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    encoded = model.encode(clip)
    prompt = model.prompt(UNCHECKED, TURKISH)
    found = model.transcribe(encoded, prompt, replace(UNCHECKED, beam_size=4), 0.0, LIMIT, never)
    scores = model.score(encoded, (*prompt.tokens, *found.tokens, model.settings.special.end))[len(prompt.tokens) - 1 :]
    # Rules raise the log-probabilities of what is left, so a hypothesis is at least as probable as without them.
    assert (np.array(found.log_probabilities) >= np.array(scores)[: len(found.log_probabilities)] - 2e-2).all()


@pytest.mark.parametrize("backend", EXACT)
def test_the_language_is_that_of_transformers(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    special = model.settings.special
    logits = logits_of(reference(checkpoints), model, clip, model.settings.frames, [special.start])[0]
    expected = torch.softmax(torch.from_numpy(logits[list(special.languages.values())]), dim=-1).numpy()
    encoded = model.encode(clip, full=True)
    np.testing.assert_allclose(model.detect_language(encoded, ()), expected, atol=1e-4)
    allowed = model.detect_language(encoded, ("tr", "en"))
    places = [list(special.languages).index(code) for code in ("tr", "en")]
    np.testing.assert_allclose(allowed[places], expected[places] / expected[places].sum(), atol=1e-4)
    assert allowed.sum() == pytest.approx(1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_have_times_within_the_clip(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    options = replace(UNCHECKED, word_times=True)
    output = model.transcribe(model.encode(clip), model.prompt(options, TURKISH), options, 0.0, LIMIT, never)
    assert output.words
    assert "".join(word.text for word in output.words) == output.text.replace(" ", "")
    times = [time_s for word in output.words for time_s in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= len(clip) / model.rate_hz
    assert all(0 < word.confidence <= 1 for word in output.words)


@torch.inference_mode()
def test_attention_scores_are_those_of_transformers(checkpoints: Path, clip: Samples) -> None:
    model = model_on("onnx", checkpoints)
    encoded = model.encode(clip, full=True)
    tokens = [model.settings.special.start, *range(40, 50)]
    session = model._graphs.session(encoded.tensors, 1, len(tokens))
    session(np.array([tokens]), [0])
    weights = torch.softmax(torch.from_numpy(session.attention_scores()), dim=-1).numpy()
    stock = WhisperForConditionalGeneration.from_pretrained(make_whisper(checkpoints), attn_implementation="eager")
    features = torch.from_numpy(model.settings.log_mel(clip, model.settings.frames))[None]
    attended = stock(features, decoder_input_ids=torch.tensor([tokens]), output_attentions=True).cross_attentions
    for own, (layer, head) in zip(weights, model.settings.alignment_heads, strict=True):
        np.testing.assert_allclose(own, attended[layer][0, head].numpy(), atol=1e-4)


def test_the_prompt(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    special, vocabulary = model.settings.special, model.settings.vocabulary
    plain = model.prompt(UNCHECKED, TURKISH)
    assert plain.tokens == (special.start, special.languages["tr"], special.transcribe, special.no_timestamps)
    translating = model.prompt(replace(UNCHECKED, task="translate"), TURKISH, timestamps=True)
    assert translating.tokens == (special.start, special.languages["tr"], special.translate)
    named = model.prompt(replace(UNCHECKED, prompt="  Dikte "), TURKISH)
    assert named.tokens == (special.previous, *vocabulary.encode(" Dikte"), *plain.tokens)
    assert named.tokens[named.start] == special.start
    long = model.prompt(replace(UNCHECKED, prompt="çok " * 2000), TURKISH)
    assert len(long.tokens) == model.settings.max_tokens // 2 + len(plain.tokens)
    english = model_on("pytorch", checkpoints, multilingual=False)
    assert len(english.prompt(UNCHECKED, None).tokens) == 2


def with_keywords(*keywords: str, prompt: str = "") -> Options:
    return replace(UNCHECKED, keywords=parse_keywords(keywords), prompt=prompt)


def test_keywords_are_a_list_before_the_prompt(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    encode, previous = model.settings.vocabulary.encode, model.settings.special.previous
    plain = model.prompt(UNCHECKED, TURKISH).tokens
    alone = model.prompt(with_keywords("Kadıköy:2", "WhatsApp=vatsap"), TURKISH)
    assert alone.tokens == (previous, *encode(" Kadıköy, WhatsApp."), *plain)
    assert alone.start == len(alone.tokens) - len(plain)
    both = model.prompt(with_keywords("Kadıköy", prompt=" Dün gece "), TURKISH)
    assert both.tokens == (previous, *encode(" Kadıköy."), *encode(" Dün gece"), *plain)


def test_a_keyword_is_text_and_no_token_of_control(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    special = model.settings.special
    prompt = model.prompt(with_keywords("<|endoftext|>"), TURKISH)
    assert special.end not in prompt.tokens
    assert model.settings.vocabulary.decode(prompt.tokens[1 : prompt.start]) == " <|endoftext|>."


def test_a_long_prompt_loses_its_beginning_and_no_keyword(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    encode, most = model.settings.vocabulary.encode, model.settings.max_tokens // 2 - 1
    glossary, spoken = encode(" Kadıköy, Ayşe."), encode(f" {('çok güzel ' * 200).strip()}")
    prompt = model.prompt(with_keywords("Kadıköy", "Ayşe", prompt="çok güzel " * 200), TURKISH)
    before = prompt.tokens[1 : prompt.start]
    assert len(before) == most
    assert list(before) == [*glossary, *spoken[len(glossary) - most :]]


def test_keywords_that_fill_the_place_leave_none_for_the_prompt(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    options = keywords_of_tokens(model, model.settings.max_tokens // 2 - 1)
    model.check_keywords(options)
    prompt = model.prompt(replace(options, prompt="çok güzel"), TURKISH)
    assert prompt.tokens == model.prompt(options, TURKISH).tokens


def test_keywords_that_do_not_fit_are_refused(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    most = model.settings.max_tokens // 2 - 1
    with pytest.raises(InvalidParameter, match=f"have {most + 1} tokens; the model takes {most}") as caught:
        model.check_keywords(keywords_of_tokens(model, most + 1))
    assert caught.value.details == {"field": "keywords", "tokens": most + 1, "max_tokens": most}
    model.check_keywords(replace(UNCHECKED, prompt="çok güzel " * 200))


def test_a_model_without_a_place_for_them_takes_no_keywords(checkpoints: Path) -> None:
    model = model_on("pytorch", checkpoints)
    settings = replace(model.settings, special=replace(model.settings.special, previous=None))
    bare = WhisperModel(settings, model._graphs, condenses=False)
    bare.check_keywords(UNCHECKED)
    with pytest.raises(InvalidParameter, match="the model takes no keywords") as caught:
        bare.check_keywords(with_keywords("Kadıköy"))
    assert caught.value.details["field"] == "keywords"


def keywords_of_tokens(model: WhisperModel, tokens: int) -> Options:
    """Keywords whose list has so many tokens: each `x` is one, and so are digits, commas, spaces and the stop."""
    names: list[str] = []
    while len(model.settings.vocabulary.encode(f" {', '.join([*names, 'x' * 9])}.")) <= tokens - 12:
        names.append(f"{'x' * 7}{len(names):02}")
    missing = tokens - len(model.settings.vocabulary.encode(f" {', '.join([*names, 'x'])}."))
    options = with_keywords(*names, "x" * (1 + missing))
    assert len(options.keywords) == len(names) + 1
    return options


@pytest.mark.parametrize("backend", BACKENDS)
def test_keywords_change_the_text(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    encoded = model.encode(clip)

    def tokens(options: Options) -> tuple[int, ...]:
        return model.transcribe(encoded, model.prompt(options, TURKISH), options, 0.0, LIMIT, never).tokens

    plain, named = tokens(UNCHECKED), tokens(with_keywords("Kadıköy", "Ayşe Tütüncü"))
    assert plain != named
    assert named == tokens(with_keywords("Kadıköy:3", "Ayşe Tütüncü=ayşe")), "boosts and sounds have no effect"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prompt_and_a_long_text_fit_into_the_decoder(backend: str, checkpoints: Path, clip: Samples) -> None:
    model = model_on(backend, checkpoints)
    options = replace(UNCHECKED, prompt="çok güzel " * 200)
    output = model.transcribe(model.encode(clip), model.prompt(options, TURKISH), options, 0.0, 1e6, never)
    assert len(output.prompt) + len(output.tokens) <= model.settings.max_tokens


def test_a_window_does_not_depend_on_what_was_computed_before_it(checkpoints: Path, clip: Samples) -> None:
    folder = whisper_artifact(checkpoints)
    recognizer = load_recognizer(open_model(folder), "onnx_int8", threads=1)
    others = [Window(babbling(seconds, seed=7)) for seconds in (0.4, 6.0)]
    alone = recognizer.compute([Window(clip)], UNCHECKED)[0]
    assert recognizer.compute([*others, Window(clip)], UNCHECKED)[-1] == alone


def test_a_text_can_be_cancelled(checkpoints: Path, clip: Samples) -> None:
    model = model_on("onnx", checkpoints)
    with pytest.raises(Cancelled):
        model.transcribe(model.encode(clip), model.prompt(UNCHECKED, TURKISH), UNCHECKED, 0.0, LIMIT, lambda: True)


@pytest.mark.parametrize("duration_s", [0.001, 0.1, 29.9, 30.0, 31.0])
def test_clips_of_any_length(duration_s: float, checkpoints: Path) -> None:
    model = model_on("onnx_int8", checkpoints)
    samples = np.random.default_rng(0).normal(0, 0.1, int(duration_s * 16_000)).astype(np.float32)
    assert model.encode(samples).condensed == (duration_s < 20)
    output = model.transcribe(model.encode(samples), model.prompt(UNCHECKED, TURKISH), UNCHECKED, 0.0, 2.0, never)
    assert np.isfinite(output.log_probabilities).all()


def test_repetition_compresses() -> None:
    assert compression_ratio("no no no no " * 20) > 2.4 > compression_ratio("Bugün hava çok güzel, dışarı çıkalım.")
    assert compression_ratio("") == 0
