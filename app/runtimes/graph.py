"""A graph that a runtime has loaded: named tensors in, named tensors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """An input of a graph. dtype: in NumPy's name, such as "float32". shape: None where any number is taken."""

    dtype: str
    shape: tuple[int | None, ...]


class Graph(Protocol):
    """A loaded graph. May be called from several threads at once."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """The inputs by name, in their order."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""
        ...

    @property
    def compiles_shapes(self) -> bool:
        """Whether each new shape of the inputs costs time and memory, so that few shapes are better than many."""
        ...

    def __call__(self, feeds: Tensors, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Compute the outputs of these names. The arrays belong to the caller."""
        ...


class TorchModule(NamedTuple):
    """A `torch.nn.Module` that takes tensors by name and gives a mapping of them, and the names."""

    module: Any
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
