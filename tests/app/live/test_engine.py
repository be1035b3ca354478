"""The words of live streams by the bundled model, which has a language model."""

import asyncio

import soundfile

from app.live.engine import LiveEngine
from app.models import load_for_lanes, open_model
from app.recognizer import Options
from app.scheduler import Scheduler
from app.settings import BUNDLED_MODEL
from scripts.speech.recognition import text_of

LESSON = BUNDLED_MODEL.parents[1] / "samples" / "lesson.wav"


def test_finals_and_partials_are_what_the_file_says_with_its_language_model() -> None:
    samples, _ = soundfile.read(LESSON, dtype="float32")
    lanes = load_for_lanes(open_model(BUNDLED_MODEL), "onnx_int8", threads=1)

    async def said(options: Options) -> tuple[str, str]:
        scheduler = Scheduler(workers=1)
        try:
            engine = LiveEngine(lanes, scheduler, options)
            segments = await engine.final(samples, 3.0)
            words, _ = await engine.draft(samples, 3.0)
            return " ".join(segment.text for segment in segments), " ".join(word.text for word in words)
        finally:
            scheduler.close()

    whole, greedy = (text_of(lanes.express, samples, Options(language_model=used)) for used in (True, False))
    assert whole != greedy
    assert asyncio.run(said(Options())) == (whole, whole)
    assert asyncio.run(said(Options(language_model=False))) == (greedy, greedy)
