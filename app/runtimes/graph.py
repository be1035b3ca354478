"""A graph that a runtime has loaded: named tensors in, named tensors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """An input of a graph. dtype: NumPy's name, such as "float32". shape: None for a dimension of any size."""

    dtype: str
    shape: tuple[int | None, ...]


class Graph(Protocol):
    """A loaded graph. Thread-safe."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """The inputs by name, in order."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """Metadata from the file."""
        ...

    @property
    def compiles_shapes(self) -> bool:
        """Whether each new input shape costs compile time and memory, so that few shapes are better than many."""
        ...

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs with these names. The arrays belong to the caller."""
        ...


class TorchModule(NamedTuple):
    """A `torch.nn.Module` that takes named tensors and returns a mapping of them, and their names."""

    module: Any
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
