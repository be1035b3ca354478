"""Deltas only ever add text, and completed items have the words of the finals."""

from app.api.realtime_events import Item, to_completed
from app.live.events import Final, Reason
from app.transcript import Segment, Word


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word, number, number + 0.5, 0.9) for number, word in enumerate(text.split()))


def final(text: str, reason: Reason = "endpoint") -> Final:
    return Final(0, 0.0, 2.0, (Segment.of(words(text)),) if text else (), reason)


def test_deltas_add_up_to_the_text() -> None:
    item = Item()
    deltas = [
        item.grow(words("iyi")),
        item.grow(words("iyi")),
        item.grow(words("iyi günler")),
        item.add(final("iyi günler")),
    ]
    assert deltas == ["iyi", "", " günler", ""]


def test_a_long_utterance_continues() -> None:
    item = Item()
    deltas = [item.add(final("bir iki", "max_length")), item.grow(words("üç")), item.add(final("üç dört"))]
    assert "".join(deltas) == item.transcript == "bir iki üç dört"
    assert to_completed(item, logprobs=False)["usage"] == {"type": "duration", "seconds": 4.0}


def test_a_final_that_contradicts_takes_nothing_back() -> None:
    item = Item()
    assert item.grow(words("beş on")) == "beş on"
    assert item.add(final("beş bin lira")) == ""
    assert to_completed(item, logprobs=False)["transcript"] == "beş bin lira"


def test_an_empty_utterance() -> None:
    item = Item()
    assert item.add(final("")) == ""
    assert to_completed(item, logprobs=True)["logprobs"] == []
