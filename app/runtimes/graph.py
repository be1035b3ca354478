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


class Cache(NamedTuple):
    """An array that each call of a graph reads as an input and updates through an output of the same shape."""

    input: str
    output: str
    values: NDArray[Any]


class BoundGraph(Protocol):
    """A graph whose other inputs are bound, for repeated calls. For one thread at a time."""

    def __call__(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """Compute the bound outputs and update the caches. The arrays belong to the caller."""
        ...


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


class CachingGraph(Graph, Protocol):
    """A graph that can also be called step by step, with values that it keeps from one call to the next."""

    def bind(self, fixed: Tensors, caches: Sequence[Cache], outputs: Sequence[str]) -> BoundGraph:
        """Bind the inputs that stay the same over several calls, and the outputs of each call.

        fixed: values of inputs. caches: updated by each call; the caller may change their values between calls.
        """
        ...


class TorchModule(NamedTuple):
    """A `torch.nn.Module` that takes named tensors and returns a mapping of them, and their names."""

    module: Any
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
