"""Whisper: encoder-decoder models on log-mel spectrograms, and their fine-tunes and distillations."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from app.artifacts import Artifact
from app.families.whisper.graphs import DECODER, ENCODER, CachedGraphs, Shape
from app.families.whisper.model import WhisperModel
from app.families.whisper.recognizer import WhisperRecognizer
from app.families.whisper.settings import SETTINGS_FILES, read_settings
from app.recognizer import Windowing
from app.runtimes.graph import CachingGraph, Tensor, TorchModule
from app.voice_activity import VoiceDetector

MODEL_TYPE = "whisper"
"""The value of `model_type` in `config.json`."""
CONDENSED_KEY = "condensed_silence"
"""Entry of the manifest: whether the artifact is proven with condensed silence (`app.families.whisper.padding`)."""


class WhisperFamily:
    """A Whisper model's settings; makes its recognizers. Raises the errors of `read_settings`."""

    graphs = (ENCODER, DECODER)

    def __init__(self, artifact: Artifact) -> None:
        self.settings = read_settings(artifact)
        self.rate_hz = self.settings.log_mel.rate_hz
        self.condenses = artifact.manifest.get(CONDENSED_KEY) is True

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

    def recognizer(self, graphs: Mapping[str, CachingGraph], windowing: Windowing = Windowing()) -> WhisperRecognizer:
        """A recognizer on the graphs. Raises ArtifactError if they have unexpected inputs."""
        model = WhisperModel(self.settings, CachedGraphs(graphs, self.shape), self.condenses)
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


__all__ = ["DECODER", "ENCODER", "MODEL_TYPE", "SETTINGS_FILES", "WhisperFamily"]
