from dataclasses import replace

import soundfile

from app.models import open_model
from app.runtimes.registry import ONNX_INT8
from app.settings import BUNDLED_MODEL
from scripts.benchmarking.engines import CTC, artifact_spec, load
from scripts.common import SAMPLES


def test_the_text_is_that_of_the_language_model_unless_it_is_switched_off() -> None:
    spec = artifact_spec(ONNX_INT8, open_model(BUNDLED_MODEL), CTC)
    samples, _ = soundfile.read(SAMPLES / "lesson.wav", dtype="float32")
    served = load(spec, 1, 1).text(samples)
    greedy = load(replace(spec, language_model=False), 1, 1).text(samples)
    assert "iç açılarının" in served
    assert "i çaçılarının" in greedy
