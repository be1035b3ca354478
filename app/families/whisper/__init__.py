"""Whisper: encoder-decoder models on log-mel spectrograms, and their fine-tunes and distillations."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from app.artifacts import Artifact
from app.families.whisper.graphs import DECODER, ENCODER, CachedGraphs, Shape
from app.families.whisper.model import WhisperModel
from app.families.whisper.optimum_graphs import OPTIMUM_LAYOUTS, OptimumGraphs
from app.families.whisper.recognizer import WhisperRecognizer
from app.families.whisper.settings import SETTINGS_FILES, read_settings
from app.recognizer import Windowing
from app.runtimes.graph import CachingGraph, Tensor, TorchModule
from app.runtimes.registry import find_onnx_int8_file, onnx_fp32_file
from app.voice_activity import VoiceDetector

MODEL_TYPE = "whisper"
"""The value of `model_type` in `config.json`."""
CONDENSED_KEY = "condensed_silence"
"""Entry of the manifest: whether the artifact is proven with condensed silence (`app.families.whisper.padding`)."""
LAYOUTS = ((ENCODER, DECODER), *OPTIMUM_LAYOUTS)
"""The graphs of each layout of exported files: Dikte's own and optimum's, the preferred ones first."""


class WhisperFamily:
    """A Whisper model's settings; makes its recognizers. Raises the errors of `read_settings`."""

    shares_sessions = True
    """Two calls on one session of two threads are about as fast as on two sessions of one thread: the steps of a
    decoder read its weights, and wait for memory. A second session of whisper-base costs 100 MB."""

    def __init__(self, artifact: Artifact) -> None:
        self.settings = read_settings(artifact)
        self.rate_hz = self.settings.log_mel.rate_hz
        self.condenses = artifact.manifest.get(CONDENSED_KEY) is True
        self.graphs = find_graphs(artifact.folder)

    @property
    def tokens(self) -> tuple[str, ...]:
        """None: a model of bytes writes any text."""
        return ()

    def torch_modules(self, folder: Path) -> Mapping[str, TorchModule]:
        """The checkpoint in float32. Raises the errors of `load_checkpoint`."""
        from app.families.whisper.checkpoint import load_checkpoint
        from app.families.whisper.modules import torch_modules

        return torch_modules(load_checkpoint(folder), self.shape.query_layers)

    def uses_few_shapes(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether a graph is called with only a few shapes: caches and windows have many."""
        return False

    def computes_steps(self, graph: str) -> bool:
        """Whether it is the decoder."""
        return graph == DECODER

    def recognizer(self, graphs: Mapping[str, CachingGraph], windowing: Windowing = Windowing()) -> WhisperRecognizer:
        """A recognizer on the graphs. Raises ArtifactError if they have unexpected inputs."""
        own = ENCODER in graphs  # and so are those of a checkpoint, whatever files are beside it
        loaded = CachedGraphs(graphs, self.shape) if own else OptimumGraphs(graphs, self.shape)
        model = WhisperModel(self.settings, loaded, self.condenses)
        return WhisperRecognizer(model, windowing, self._detector)

    @property
    def shape(self) -> Shape:
        """Sizes of the decoder, and its alignment heads."""
        settings = self.settings
        heads = settings.alignment_heads or settings.default_alignment_heads
        return Shape(settings.layers, settings.heads, settings.width, heads)

    @cached_property
    def _detector(self) -> VoiceDetector:
        """Shared by all recognizers of the model."""
        return VoiceDetector()


def find_graphs(folder: Path) -> tuple[str, ...]:
    """Names of the graphs in a folder: those of the first layout of which it has all float32 and all INT8 files.

    If there is none, one with all float32 files, then one with all INT8 files. Without any, such as in a checkpoint,
    those of Dikte's own layout.
    """
    fp32 = [layout for layout in LAYOUTS if all((folder / onnx_fp32_file(graph)).is_file() for graph in layout)]
    int8 = [
        layout for layout in LAYOUTS if all((folder / find_onnx_int8_file(folder, graph)).is_file() for graph in layout)
    ]
    both = [layout for layout in fp32 if layout in int8]
    return (*both, *fp32, *int8, *LAYOUTS)[0]


__all__ = ["DECODER", "ENCODER", "MODEL_TYPE", "SETTINGS_FILES", "WhisperFamily"]
