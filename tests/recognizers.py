"""CTC recognizers of what lies in a folder."""

from pathlib import Path

from app.artifacts import open_artifact
from app.families.ctc.graph import CtcGraph
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.settings import CtcSettings, read_settings
from app.models import load_recognizer, open_model
from app.recognizer import Windowing
from app.runtimes.onnx import OnnxGraph


def ctc_settings(folder: Path) -> CtcSettings:
    """The settings of the model in a folder."""
    return read_settings(open_artifact(folder))


def ctc_recognizer(folder: Path, backend: str) -> CtcRecognizer:
    """The recognizer of the model in a folder, loaded as the service does it, on one thread."""
    recognizer = load_recognizer(open_model(folder), backend, threads=1)
    assert isinstance(recognizer, CtcRecognizer)
    return recognizer


def ctc_graph(settings: CtcSettings, path: Path) -> CtcGraph:
    """An ONNX file of any name, on one thread."""
    return CtcGraph(OnnxGraph(path, threads=1), settings.framing)


def ctc_recognizer_on(settings: CtcSettings, path: Path) -> CtcRecognizer:
    """A recognizer that computes an ONNX file of any name, on one thread."""
    return CtcRecognizer(settings, ctc_graph(settings, path), Windowing())
