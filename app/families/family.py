"""The interface of a model family before its model is loaded: its settings, and making a recognizer from graphs."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.recognizer import AnyRecognizer, Windowing
from app.runtimes.graph import CachingGraph
from app.runtimes.registry import GraphSource


class Family(GraphSource, Protocol):
    """A model family, opened on an artifact. `GraphSource` has what backends need to load its graphs."""

    @property
    def rate_hz(self) -> int:
        """Sample rate of the audio that the model takes."""
        ...

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens of the model's vocabulary, including special ones; none if the model writes any text."""
        ...

    def recognizer(self, graphs: Mapping[str, CachingGraph], windowing: Windowing) -> AnyRecognizer:
        """A recognizer on these graphs, by name. Raises ArtifactError if they have unexpected inputs."""
        ...
