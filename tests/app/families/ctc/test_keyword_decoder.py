"""What the words are with keywords, by the spotter and the decoder together."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.families.ctc import keyword_spotter
from app.families.ctc.beam_search import BeamWordDecoder
from app.families.ctc.decoding import AnyWordDecoder, Vocabulary, WordDecoder
from app.families.ctc.keyword_decoder import KeywordDecoder
from app.families.ctc.keyword_search import search
from app.families.ctc.keyword_spotter import BATCH_S, MAX_HELD_S, KeywordSpotter
from app.families.ctc.keyword_trie import build_trie
from app.families.ctc.spelling import Letters
from app.keywords import Keyword, parse_keywords
from app.transcript import Word, joined
from scripts.language_modeling.making import Weights
from tests.language_models import language_model

ALPHABET = "abcçdefgğhıijklmnoöprsştuüvyz"
TOKENS = ("<pad>", "|", *ALPHABET)
VOCABULARY = Vocabulary(TOKENS, 0, "|", frozenset({"<pad>"}))
FRAME_S = 0.02
CERTAIN, OTHER = 0.9, 0.08


def emissions(text: str, confused: str = "") -> NDArray[np.float32]:
    """Log-probabilities of a text that is spoken with two frames for each letter, then a blank.

    confused: pairs of letters, such as `td`: where the first is spoken, the second is half as probable.
    """
    others = dict(zip(confused[::2], confused[1::2], strict=True))
    rows = []
    for character in text:
        token = TOKENS.index({" ": "|", "_": "<pad>"}.get(character, character))
        row = np.full(len(TOKENS), (1 - CERTAIN - OTHER) / (len(TOKENS) - 2))
        row[0 if token else 1] = OTHER
        row[token] = CERTAIN
        if character in others:
            row[:] = 0.1 / (len(TOKENS) - 2)
            row[[token, TOKENS.index(others[character])]] = 0.6, 0.3
        blank = np.full(len(TOKENS), (1 - CERTAIN) / (len(TOKENS) - 1))
        blank[0] = CERTAIN
        rows += [row, row, blank]
    return np.log(np.array(rows, dtype=np.float32).reshape(-1, len(TOKENS)))


def decoder(*keywords: str, language: str | None = "tr", decoding: AnyWordDecoder | None = None) -> KeywordDecoder:
    """Keywords over the words of another decoder, or of the best path."""
    letters = Letters(VOCABULARY, language)
    trie = build_trie(parse_keywords(keywords), letters, 1.0)
    decoding = decoding or WordDecoder(VOCABULARY, FRAME_S)
    return KeywordDecoder(decoding, KeywordSpotter(trie, letters, VOCABULARY, FRAME_S))


def words(
    frames: NDArray[np.float32],
    *keywords: str,
    language: str | None = "tr",
    step: int = 0,
    decoding: AnyWordDecoder | None = None,
) -> list[Word]:
    """The words of a clip that comes in parts of `step` frames."""
    decoding = decoding or WordDecoder(VOCABULARY, FRAME_S)
    if keywords:
        decoding = decoder(*keywords, language=language, decoding=decoding)
    found: list[Word] = []
    for start in range(0, len(frames), step or len(frames) or 1):
        found += decoding.add(frames[start : start + step] if step else frames)
    return found + decoding.finish()


def text(said: str, *keywords: str, confused: str = "", language: str | None = "tr") -> str:
    return joined(words(emissions(said, confused), *keywords, language=language))


@pytest.mark.parametrize(
    ("said", "keywords", "expected"),
    [
        ("yarın kadıköy yolunda", ["Kadıköy"], "yarın Kadıköy yolunda"),
        ("kadıköy", ["Kadıköy"], "Kadıköy"),
        ("kadıköyde otur", ["Kadıköy"], "Kadıköy'de otur"),
        ("ahmetin evi", ["Ahmet"], "Ahmet'in evi"),
        ("dikteye yaz", ["Dikte"], "Dikte'ye yaz"),
        ("ahmetler geldi", ["Ahmet"], "Ahmetler geldi"),
        ("faturalar burada", ["fatura"], "faturalar burada"),
        ("ahmedin evi", ["Ahmet"], "Ahmet'in evi"),
        ("ahmed evde", ["Ahmet"], "ahmed evde"),
        ("türk hava yolları ile", ["Türk Hava Yolları"], "Türk Hava Yolları ile"),
        ("türkhava yollarından", ["Türk Hava Yolları"], "Türk Hava Yolları'ndan"),
        ("vatsaptan yaz", ["WhatsApp=vatsap"], "WhatsApp'tan yaz"),
        ("yarın kadı köy yolunda", ["Kadıköy"], "yarın Kadıköy yolunda"),
        ("tütüncüoğlubana sordu", ["Tütüncüoğlu"], "Tütüncüoğlu bana sordu"),
        ("ankara ve ankaragücü", ["Ankara", "Ankaragücü"], "Ankara ve Ankaragücü"),
        ("ankaragücünün maçı", ["Ankara", "Ankaragücü"], "Ankaragücü'nün maçı"),
        ("kararımı verdim ankaraya", ["Kara"], "kararımı verdim ankaraya"),
        ("otur", ["Kadıköy"], "otur"),
        ("", ["Kadıköy"], ""),
        ("   ", ["Kadıköy"], ""),
    ],
)
def test_keywords_in_their_spelling(said: str, keywords: list[str], expected: str) -> None:
    assert text(said, *keywords) == expected


def test_a_keyword_changes_what_the_model_misheard() -> None:
    assert text("yarın ahned gelir", confused="nmdt") == "yarın ahned gelir"
    assert text("yarın ahned gelir", "Ahmet", confused="nmdt") == "yarın Ahmet gelir"
    assert text("yarın ahned gelir", "Ahmet:0.5", confused="nmdt") == "yarın ahned gelir"
    assert text("yarın ahned gelir", "Ahmet") == "yarın ahned gelir", "the model is sure"


@pytest.mark.parametrize("step", [0, 5])
def test_keywords_replace_words_of_a_language_model(step: int) -> None:
    scorer = language_model("letter", 5).scorer(Path(), VOCABULARY, Weights(0.5, 1.0))
    frames = emissions("ali bamla kadımöyde aldi", confused="mk")

    def written(*keywords: str, modelled: bool) -> str:
        decoding = BeamWordDecoder(VOCABULARY, FRAME_S, scorer, 16) if modelled else WordDecoder(VOCABULARY, FRAME_S)
        return joined(words(frames, *keywords, step=step, decoding=decoding))

    assert written(modelled=False) == "ali bamla kadımöyde aldi"
    assert written("Kadıköy", modelled=False) == "ali bamla Kadıköy'de aldi"
    assert written(modelled=True).startswith("ali bakla ")
    assert written("Kadıköy", modelled=True) == "ali bakla Kadıköy'de aldi"


def test_other_languages_have_no_turkish_endings() -> None:
    assert text("köyde otur", "Köy", language="de") == "köyde otur"
    assert text("berlins tor", "Berlin", language="en") == "Berlin's tor"


def test_the_words_around_keep_their_times_and_confidences() -> None:
    frames = emissions("bir kadıköyde iki")
    plain, found = words(frames), words(frames, "Kadıköy")
    assert [word.text for word in found] == ["bir", "Kadıköy'de", "iki"]
    assert (found[0], found[2]) == (plain[0], plain[2])
    assert (found[1].start_s, found[1].end_s) == pytest.approx((plain[1].start_s, plain[1].end_s))
    assert found[1].confidence == pytest.approx(plain[1].confidence)


def test_each_word_of_a_phrase_has_its_times() -> None:
    found = words(emissions("hava yollarında"), "Hava Yolları")
    assert [word.text for word in found] == ["Hava", "Yolları'nda"]
    assert [(word.start_s, word.end_s) for word in found] == [pytest.approx((0.0, 0.22)), pytest.approx((0.3, 0.88))]


def test_confidence_is_that_of_the_keywords_letters() -> None:
    (word,) = words(emissions("ahmed", "dt"), "Ahmet")
    assert word.confidence == pytest.approx(math.exp((4 * math.log(CERTAIN) + math.log(0.3)) / 5), rel=1e-3)


CLIP = "bu akşam türkhava yollarından kadı köye ve ahmedin tütüncüoğlubana dediği ankaragücü maçına "
KEYWORDS = ("Türk Hava Yolları", "Kadıköy", "Ahmet", "Tütüncüoğlu", "Ankara", "Ankaragücü", "Akşamüstü")


@pytest.mark.parametrize("step", [1, 7, 50, 400])
def test_parts_give_the_same_words_as_the_whole(step: int) -> None:
    frames = emissions(2 * CLIP)
    whole = words(frames, *KEYWORDS)
    assert joined(whole).startswith(
        "bu akşam Türk Hava Yolları'ndan Kadıköy'e ve Ahmet'in Tütüncüoğlu bana dediği Ankaragücü"
    )
    parts = words(frames, *KEYWORDS, step=step)
    assert [word.text for word in parts] == [word.text for word in whole]
    np.testing.assert_allclose([word.start_s for word in parts], [word.start_s for word in whole])
    np.testing.assert_allclose([word.confidence for word in parts], [word.confidence for word in whole])


@pytest.mark.parametrize("seed", range(3))
def test_random_emissions_in_parts(seed: int) -> None:
    """A model that is sure of nothing finds many keywords, which overlap."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (600, len(TOKENS))).astype(np.float32)
    logits[:, 0] += 2
    logits[random.random(600) < 0.1, 1] += 6
    frames = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    keywords = ["ada", "bada", "can", "eda dağ", "nil:2", "su:3", "ali", "alina"]
    whole = [word.text for word in words(frames, *keywords)]
    assert any(word in whole for word in ("ada", "can", "nil", "su", "ali"))
    for step in (13, 200):
        assert [word.text for word in words(frames, *keywords, step=step)] == whole


def test_small_parts_are_searched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = 0

    def counted(*arguments: Any) -> Any:
        nonlocal searches
        searches += 1
        return search(*arguments)

    monkeypatch.setattr(keyword_spotter, "search", counted)
    frames = emissions("bir kadıköyde iki")
    words(frames, "Kadıköy", step=1)
    assert searches == len(frames) // math.ceil(BATCH_S / FRAME_S) + 1


@pytest.mark.parametrize("step", [1, 5, 40])
def test_no_word_begins_before_the_time_that_was_told(step: int) -> None:
    decoding, frames = decoder(*KEYWORDS), emissions(CLIP)
    told_s = 0.0
    for start in range(0, len(frames), step):
        assert all(word.start_s >= told_s - 1e-9 for word in decoding.add(frames[start : start + step]))
        assert decoding.next_start_s >= told_s - 1e-9, "it never goes back"
        told_s = decoding.next_start_s
    assert told_s > len(frames) * FRAME_S - 2, "it goes on while nothing is running"
    assert all(word.start_s >= told_s - 1e-9 for word in decoding.finish())


def test_words_are_in_order_and_nothing_is_lost() -> None:
    found = words(emissions(CLIP), *KEYWORDS, step=5)
    assert all(before.end_s <= after.start_s for before, after in pairwise(found))
    letters = "".join(word.text for word in words(emissions(CLIP)))
    assert len("".join(word.text for word in found).replace("'", "")) == len(letters)


def test_words_are_held_back_only_while_a_keyword_may_be_running() -> None:
    decoding = decoder("Kadıköy")
    early = decoding.add(emissions("bir iki üç ka"))
    assert [word.text for word in early] == ["bir", "iki", "üç"]
    assert decoding.next_start_s == pytest.approx(11 * 3 * FRAME_S)
    assert [word.text for word in decoding.add(emissions("dın geldi "))] == ["kadın", "geldi"]
    assert decoding.add(emissions("kadı")) == []
    silence = emissions("_")[2:]
    late = decoding.add(np.repeat(silence, 300, axis=0))
    assert late == [], "its word is not complete"
    assert decoding.next_start_s == pytest.approx(23 * 3 * FRAME_S)
    assert joined(decoding.finish()) == "kadı"


def test_memory_is_bounded_without_spaces() -> None:
    decoding = decoder("Kadıköy")
    spotter = decoding._spotter
    part = emissions(100 * "kadıköy")
    for _ in range(4):
        decoding.add(part)
        assert len(spotter._kept) * FRAME_S < MAX_HELD_S + 2 * len(part) * FRAME_S
    decoding.finish()


class Beam:
    """A decoder whose words come late and differ from the best path."""

    def __init__(self, found: Sequence[Word]) -> None:
        self._found = list(found)
        self._frames = 0

    def add(self, frames: NDArray[np.float32]) -> list[Word]:
        self._frames += len(frames)
        return self._until(self.next_start_s)

    def finish(self) -> list[Word]:
        return self._until(1e9)

    @property
    def next_start_s(self) -> float:
        return max(0.0, self._frames * FRAME_S - 1.0)

    def _until(self, time_s: float) -> list[Word]:
        found = [word for word in self._found if word.end_s <= time_s]
        self._found = self._found[len(found) :]
        return found


@pytest.mark.parametrize("step", [10, 1000])
def test_words_of_another_decoder(step: int) -> None:
    frames = emissions("bir kadıköyde iki")
    beam = Beam(
        [
            Word("Bir", 0.0, 0.16, 0.9),
            Word("kadı", 0.25, 0.45, 0.9),
            Word("köyde", 0.5, 0.79, 0.9),
            Word("İki", 0.85, 1.0, 0.9),
        ]
    )
    letters = Letters(VOCABULARY, "tr")
    trie = build_trie([Keyword("Kadıköy")], letters, 1.0)
    decoding = KeywordDecoder(beam, KeywordSpotter(trie, letters, VOCABULARY, FRAME_S))
    found: list[Word] = []
    for start in range(0, len(frames), step):
        found += decoding.add(frames[start : start + step])
    assert [word.text for word in found + decoding.finish()] == ["Bir", "Kadıköy'de", "İki"]
