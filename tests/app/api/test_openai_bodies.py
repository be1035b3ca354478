"""The JSON of OpenAI's API for a model that writes token by token; `test_openai.py` has that of CTC models."""

from app.api.openai_bodies import to_delta, to_done, to_logprobs, to_segment, to_transcription, to_verbose
from app.transcript import Decoding, Segment, Timings, Transcript

PIECES = ((b" \xc3", -0.1), (b"\xa7ok", -0.2), (b" iyi", -0.3))
DECODING = Decoding((5, 6, 7), 0.2, -0.25, 1.5, 0.125, "tr", 0.9, PIECES)
FIRST = Segment("çok iyi", 1.0, 2.5, 0.8, decoding=DECODING)
SECOND = Segment("çok iyi", 3.0, 4.5, 0.8, decoding=DECODING)
OTHER = Segment("evet", 5.0, 6.0, 0.8, decoding=Decoding((9,), 0.0, -0.5, 1.0, 0.0, "tr", 0.9, ((b" evet", -0.5),)))
TRANSCRIPT = Transcript((FIRST, OTHER), 10.04, Timings(0.1, 0.1, 0.1, 0.3))


def test_a_segment_has_what_the_model_knows_of_it() -> None:
    assert to_segment(3, FIRST) == {
        "id": 3, "seek": 100, "start": 1.0, "end": 2.5, "text": " çok iyi", "tokens": [5, 6, 7], "temperature": 0.2,
        "avg_logprob": -0.25, "compression_ratio": 1.5, "no_speech_prob": 0.125,
    }  # fmt: skip


def test_logprobs_are_those_of_tokens() -> None:
    tokens = to_logprobs(TRANSCRIPT.segments)
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == " çok iyi evet"
    assert [token["logprob"] for token in tokens] == [-0.1, -0.2, -0.3, -0.5]
    assert tokens[0]["token"] == " \ufffd"  # half a letter, as OpenAI has it


def test_segments_of_one_window_share_its_tokens() -> None:
    assert len(to_logprobs([FIRST, SECOND])) == len(PIECES)


def test_the_language_is_that_of_the_speech_or_of_the_translation() -> None:
    assert to_verbose(TRANSCRIPT, "transcribe", "en", True, True)["language"] == "turkish"
    assert to_verbose(TRANSCRIPT, "translate", None, True, False)["language"] == "english"
    assert to_transcription(TRANSCRIPT, logprobs=False)["languages"] == [{"code": "tr"}]


def test_events_count_tokens() -> None:
    done = to_done(TRANSCRIPT, logprobs=True)
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (101, 4)
    assert done["languages"] == [{"code": "tr"}]
    assert to_delta(0, FIRST, True, False)["delta"] == "çok iyi"
    assert to_delta(1, OTHER, True, True)["segment_id"] == "seg_1"


def test_a_segment_of_a_script_without_spaces() -> None:
    segment = Segment("東京", 0.0, 1.0, 0.0, space_before=False)
    assert to_segment(0, segment)["text"] == to_delta(1, segment, False, False)["delta"] == "東京"
    assert to_logprobs([segment])[0]["token"] == "東京"
