import io
import json
import re

import pytest
import srt
import webvtt

from app.formats import to_json, to_segment, to_srt, to_text, to_vtt
from app.transcript import Segment, Timings, Transcript
from tests.app.test_segmenting import segments_of, words


def transcript(*spans: tuple[str, float, float]) -> Transcript:
    return Transcript(tuple(segments_of(words(*spans))), 4000.0, Timings(0.01, 0.02, 0.12345, 0.16))


SPOKEN = transcript(("bir", 0.5, 0.9), ("iki", 1.0, 1.3), ("üç", 3.0, 3.25), ("dört", 3725.0, 3725.5))


def test_json_body() -> None:
    body = to_json(SPOKEN, "tr-small", "onnx", with_words=True)
    assert body["text"] == "bir iki üç dört"
    assert body["inference_time"] == body["timings"]["inference"] == pytest.approx(0.1235, abs=1e-4)
    assert body["words"][2] == {"word": "üç", "start": 3.0, "end": 3.25, "confidence": 0.9}
    assert "words" not in to_json(SPOKEN, "tr-small", "onnx", with_words=False)
    json.dumps(body, allow_nan=False)


def test_silence_in_every_format() -> None:
    silent = transcript()
    assert to_json(silent, "m", "onnx", True) | {"text": "", "confidence": None, "words": []} == to_json(
        silent, "m", "onnx", True
    )
    assert (to_text(silent), to_srt(silent), to_vtt(silent)) == ("\n", "", "WEBVTT\n\n")


def test_srt_for_a_foreign_parser() -> None:
    captions = list(srt.parse(to_srt(SPOKEN)))
    assert [caption.index for caption in captions] == [1, 2, 3]
    assert [caption.content for caption in captions] == ["bir iki", "üç", "dört"]
    assert captions[0].start.total_seconds() == 0.5
    assert captions[2].end.total_seconds() == 3726.0  # a second at least


def test_vtt_for_a_foreign_parser() -> None:
    captions = webvtt.from_buffer(io.StringIO(to_vtt(SPOKEN))).captions
    assert [(caption.text, caption.start, caption.end) for caption in captions] == [
        ("bir iki", "00:00:00.500", "00:00:01.500"),
        ("üç", "00:00:03.000", "00:00:04.000"),
        ("dört", "01:02:05.000", "01:02:06.000"),
    ]


def test_milliseconds_are_rounded_not_carried_wrong() -> None:
    assert to_srt(transcript(("a", 59.9996, 60.0004))).startswith("1\n00:01:00,000 --> 00:01:01,000\n")


def test_letters_that_mean_something_in_vtt() -> None:
    (caption,) = webvtt.from_buffer(io.StringIO(to_vtt(transcript(("q&a", 0.0, 1.0), ("<i>", 1.0, 1.5))))).captions
    assert caption.raw_text == "q&amp;a &lt;i&gt;"


def said_by(*turns: tuple[str, str | None]) -> Transcript:
    segments = (
        Segment(text, 2.0 * number, 2.0 * number + 1.5, 0.9, speaker=speaker)
        for number, (text, speaker) in enumerate(turns)
    )
    return Transcript(tuple(segments), 60.0, Timings(0.01, 0.02, 0.03, 0.06))


CALL = said_by(("merhaba", "A"), ("nasılsınız", "A"), ("iyiyim <b>", "B & co"), ("güzel", "A"))


def test_speakers_in_text() -> None:
    assert to_text(CALL) == "A: merhaba nasılsınız\nB & co: iyiyim <b>\nA: güzel\n"


def test_speakers_in_srt() -> None:
    captions = list(srt.parse(to_srt(CALL)))
    assert [caption.content for caption in captions] == [
        "A: merhaba", "A: nasılsınız", "B & co: iyiyim <\u2060b>", "A: güzel"
    ]  # fmt: skip


def test_speakers_in_vtt() -> None:
    captions = webvtt.from_buffer(io.StringIO(to_vtt(CALL))).captions
    assert [caption.text for caption in captions] == ["merhaba", "nasılsınız", "iyiyim &lt;b&gt;", "güzel"]
    assert [caption.voice for caption in captions] == ["A", "A", "B &amp; co", "A"]


@pytest.mark.parametrize("text", ["<i>kursiv</i>", r"{\an8}yukarı", "a --> b", "1", "a\n\nb", "<font color=red>x"])
def test_letters_that_mean_something_in_srt(text: str) -> None:
    (caption,) = srt.parse(to_srt(said_by((text, None))))
    assert caption.content.replace("\u2060", "") == " ".join(text.split())
    assert not re.search(r"<[a-z/]|\{\\|-->", caption.content)


def test_a_segment_of_a_streamed_answer() -> None:
    assert to_segment(CALL.segments[2], with_words=True) == {
        "text": "iyiyim <b>", "start": 4.0, "end": 5.5, "confidence": 0.9, "speaker": "B & co", "words": []
    }  # fmt: skip
    (segment,) = segments_of(words(("bir", 0.5, 0.9)))
    assert to_segment(segment, with_words=False) == {
        "text": "bir", "start": 0.5, "end": 0.9, "confidence": pytest.approx(0.9)
    }  # fmt: skip
