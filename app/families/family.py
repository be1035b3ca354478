"""What a family is before its model is loaded: the settings of one artifact, and how a recognizer is made of graphs."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.recognizer import AnyRecognizer, Windowing
from app.runtimes.graph import Graph
from app.runtimes.registry import GraphSource


class Family(GraphSource, Protocol):
    """A model family, opened on an artifact; what backends ask of it to load its graphs is in `GraphSource`."""

    @property
    def rate_hz(self) -> int:
        """The sample rate of the audio that the model takes."""
        ...

    @property
    def tokens(self) -> Sequence[str]:
        """The tokens that texts are made of, some of them special."""
        ...

    def recognizer(self, graphs: Mapping[str, Graph], windowing: Windowing) -> AnyRecognizer:
        """A recognizer that computes on graphs, by name. Raises ArtifactError if they are not such as it knows."""
        ...
