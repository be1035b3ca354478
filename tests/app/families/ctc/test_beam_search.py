from itertools import pairwise
from pathlib import Path

import kenlm
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.families.ctc.beam_search import COMMIT_FRAMES, MAX_LAG_FRAMES, BeamWordDecoder
from app.families.ctc.decoding import WordDecoder, decode_ctc
from app.families.ctc.scorer import Scored, Scorer
from app.families.ctc.word_model import WordScorer
from app.transcript import Word, joined
from scripts.language_modeling.making import Weights
from tests.app.families.ctc.slow_beam_search import SlowBeamSearch
from tests.language_models import LINES, TOKENS, VOCABULARY, add_language_model, language_model, unsure_emissions

FRAME_S = 0.02
WEIGHTS = Weights(0.5, 1.5)
ALPHA, BETA, OFFSET = 0.5, 1.5, -4.0
LABELS = ["", "⁇", " ", *TOKENS[3:]]


class Indifferent:
    """A `Scorer` to which all texts are the same."""

    def start(self) -> Scored:
        return Scored(0.0, 0)

    def extend(self, before: Scored, token: int) -> Scored:
        return before

    def finish(self, whole: Scored) -> float:
        return whole.score


@pytest.fixture(scope="module")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_language_model(tmp_path_factory.mktemp("words"), "word", WEIGHTS) / "language_model"


@pytest.fixture(scope="module")
def letters() -> Scorer:
    return language_model("letter", 5).scorer(Path(), VOCABULARY, WEIGHTS)


def decoded(emissions: NDArray[np.float32], scorer: Scorer, width: int = 100) -> list[Word]:
    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, scorer, width)
    return decoder.add(emissions) + decoder.finish()


def text(words: list[Word]) -> str:
    return joined(tuple(words))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("boundary", [True, False])
def test_same_texts_as_pyctcdecode(words_folder: Path, known: bool, boundary: bool) -> None:
    arpa = words_folder / "ngrams.arpa"
    unigrams = (words_folder / "unigrams.txt").read_text(encoding="utf-8").split() if known else []
    scorer = WordScorer(
        VOCABULARY, arpa, unigrams, alpha=ALPHA, beta=BETA, unknown_offset=OFFSET, score_boundary=boundary
    )
    slow = SlowBeamSearch(LABELS, kenlm.Model(str(arpa)), frozenset(unigrams), ALPHA, BETA, OFFSET, boundary)
    changed = 0
    for seed in range(12):
        emissions = unsure_emissions(seed)
        expected = slow.text(emissions)
        assert text(decoded(emissions, scorer)) == expected
        changed += expected != text(list(decode_ctc(emissions, VOCABULARY, FRAME_S)))
    assert changed > 3, "the language model changes texts"


def noise(seed: int, frames: int) -> NDArray[np.float32]:
    """Emissions of a model that hears nothing: hypotheses by the thousand, of which any beam drops most."""
    logits = np.random.default_rng(seed).normal(0.0, 2.0, (frames, len(TOKENS)))
    logits[:, TOKENS.index("[UNK]")] = -50.0
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)


def word_scorer(folder: Path) -> WordScorer:
    words = (folder / "unigrams.txt").read_text(encoding="utf-8").split()
    return WordScorer(
        VOCABULARY,
        folder / "ngrams.arpa",
        words,
        alpha=ALPHA,
        beta=BETA,
        unknown_offset=OFFSET,
        score_boundary=True,
    )


def slow_search(folder: Path, width: int, by_text: bool) -> SlowBeamSearch:
    words = frozenset((folder / "unigrams.txt").read_text(encoding="utf-8").split())
    model = kenlm.Model(str(folder / "ngrams.arpa"))
    return SlowBeamSearch(LABELS, model, words, ALPHA, BETA, OFFSET, beam_width=width, by_text=by_text)


@pytest.mark.parametrize("width", [5, 30])
def test_in_noise_the_only_difference_is_that_the_paths_of_a_text_share_a_place(words_folder: Path, width: int) -> None:
    """pyctcdecode counts those that end in a blank apart. A beam that is full then drops other hypotheses."""
    scorer, changed = word_scorer(words_folder), 0
    by_text, by_label = (slow_search(words_folder, width, by_text) for by_text in (True, False))
    for seed in range(4):
        emissions = noise(seed, COMMIT_FRAMES - 1)
        found = text(decoded(emissions, scorer, width))
        assert found == by_text.text(emissions)
        changed += found != by_label.text(emissions)
    assert changed, "the difference is seen"


def test_in_noise_its_texts_have_higher_scores_than_those_of_pyctcdecode(words_folder: Path) -> None:
    scorer, slow = word_scorer(words_folder), slow_search(words_folder, 20, by_text=False)

    def score(emissions: NDArray[np.float32], written: str) -> float:
        log_probabilities = torch.tensor(emissions).double()[:, None]
        letters = torch.tensor([[LABELS.index(letter) for letter in written]])
        lengths = torch.tensor([len(emissions)]), torch.tensor([len(written)])
        loss = torch.nn.functional.ctc_loss(log_probabilities, letters, *lengths, reduction="sum")
        return slow.language_score(written, "", ended=True) - float(loss)

    gains = []
    for seed in range(12):
        emissions = noise(seed, 40)
        ours = score(emissions, text(decoded(emissions, scorer, 20)))
        gains.append(ours - score(emissions, slow.text(emissions)))
    assert np.mean(gains) > 1.0


@pytest.mark.parametrize("portion", [1, 7, 60])
def test_portions_give_the_words_of_the_whole(letters: Scorer, portion: int) -> None:
    emissions = unsure_emissions(0, texts=20)
    whole = decoded(emissions, letters)
    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, letters, 100)
    parts = [
        word for start in range(0, len(emissions), portion) for word in decoder.add(emissions[start : start + portion])
    ]
    assert len(parts) > len(whole) // 2, "words come before the end"
    parts += decoder.finish()
    assert [(word.text, word.start_s, word.end_s) for word in parts] == [
        (word.text, word.start_s, word.end_s) for word in whole
    ]
    assert [word.confidence for word in parts] == pytest.approx([word.confidence for word in whole], rel=1e-3)


def test_no_word_starts_before_next_start_s(letters: Scorer) -> None:
    emissions = unsure_emissions(1, texts=20)
    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, letters, 100)
    earliest, late = 0.0, 0
    for start in range(0, len(emissions), 10):
        for word in decoder.add(emissions[start : start + 10]):
            assert word.start_s >= earliest - 1e-9
            late += 1
        assert decoder.next_start_s <= (start + 10) * FRAME_S + 1e-9
        earliest = decoder.next_start_s
    assert late > 10
    assert all(word.start_s >= earliest - 1e-9 for word in decoder.finish())


def test_sure_emissions_give_the_words_times_and_confidences_of_greedy_decoding() -> None:
    emissions = unsure_emissions(2, texts=5, doubt=0.0)
    expected = decode_ctc(emissions, VOCABULARY, FRAME_S)
    found = decoded(emissions, Indifferent())
    assert [(word.text, word.start_s, word.end_s) for word in found] == [
        (word.text, word.start_s, word.end_s) for word in expected
    ]
    assert [word.confidence for word in found] == pytest.approx([word.confidence for word in expected], rel=1e-3)


def test_words_follow_each_other(letters: Scorer) -> None:
    words = decoded(unsure_emissions(3, texts=20), letters)
    assert len(words) > 20
    assert all(word.start_s < word.end_s and 0.0 < word.confidence <= 1.0 for word in words)
    assert all(before.end_s <= after.start_s for before, after in pairwise(words))


def test_letters_make_fewer_errors_than_greedy_decoding(letters: Scorer) -> None:
    known = {word for line in LINES for word in line.split()}
    greedy = beam = 0
    for seed in range(10):
        emissions = unsure_emissions(seed)
        greedy += sum(word.text not in known for word in decode_ctc(emissions, VOCABULARY, FRAME_S))
        beam += sum(word.text not in known for word in decoded(emissions, letters))
    assert beam < greedy / 2


def test_undecided_hypotheses_are_cut_off_after_a_while() -> None:
    """`a` or `b`, equally likely, and then one endless word: without a limit, no hypothesis would ever be dropped."""
    frames = 3 * MAX_LAG_FRAMES
    emissions = np.full((frames, len(TOKENS)), -40.0, dtype=np.float32)
    emissions[1:, 0] = 0.0
    emissions[0, [TOKENS.index("a"), TOKENS.index("b")]] = np.log(0.5)
    emissions[2] = -40.0
    emissions[2, TOKENS.index("|")] = 0.0

    class TwoWorlds(Indifferent):
        """Remembers the first letter forever."""

        def extend(self, before: Scored, token: int) -> Scored:
            return Scored(before.score, before.state or token)

    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, TwoWorlds(), 100)
    assert decoder.add(emissions[:MAX_LAG_FRAMES]) == []
    assert [word.text for word in decoder.add(emissions[MAX_LAG_FRAMES:])] == ["a"]


def test_memory_does_not_grow_with_the_clip(letters: Scorer) -> None:
    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, letters, 100)
    emissions = unsure_emissions(4, texts=60)
    sizes = []
    for start in range(0, len(emissions) // 100 * 100, 100):
        decoder.add(emissions[start : start + 100])
        sizes.append(_prefixes(decoder))
    half = len(sizes) // 2
    assert max(sizes[half:]) < 2 * max(sizes[:half])


def _prefixes(decoder: BeamWordDecoder) -> int:
    waiting, count = [decoder._root], 0
    while waiting:
        count += 1
        waiting += waiting.pop().children.values()
    return count


def test_silence_writes_nothing(letters: Scorer) -> None:
    emissions = np.full((300, len(TOKENS)), -np.inf, dtype=np.float32)
    emissions[:, 0] = 0.0
    decoder = BeamWordDecoder(VOCABULARY, FRAME_S, letters, 16)
    assert decoder.add(emissions) == []
    assert decoder.next_start_s == pytest.approx(6.0)
    assert decoder.add(emissions[:0]) == []
    assert decoder.finish() == []


def test_tokens_without_text_are_blanks(letters: Scorer) -> None:
    """As in greedy decoding, they part two equal letters."""
    path = [TOKENS.index(name) for name in ("a", "[UNK]", "l", "[UNK]", "i")]
    emissions = np.full((5, len(TOKENS)), -12.0, dtype=np.float32)
    emissions[np.arange(5), path] = -1e-4
    assert text(decoded(emissions, letters)) == "ali"
    greedy = WordDecoder(VOCABULARY, FRAME_S)
    assert text(greedy.add(emissions) + greedy.finish()) == "ali"
