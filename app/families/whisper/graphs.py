"""The graphs of a Whisper model as runtimes load them: the encoder's output of a window, and decoding with caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.whisper.log_mel import Features
from app.families.whisper.padding import Layout
from app.runtimes.graph import Cache, CachingGraph, Graph, Tensor, Tensors

ENCODER, DECODER = "encoder", "decoder"
"""Names of the graphs; their file names start with them."""
FEATURES_INPUT, POSITIONS_INPUT, LOG_WEIGHTS_INPUT = "input_features", "positions", "log_weights"
ORDER_INPUT = "order"
"""Input of a decoder that keeps its caches itself: the old hypothesis that each hypothesis continues."""
LOGITS_OUTPUT = "logits"
NO_WEIGHT = -1e9
"""The log-weight of a position without a weight; a softmax makes zero of it."""

Logits = NDArray[np.float32]
"""Shape (hypotheses, vocabulary), float32."""


class DecoderSession(Protocol):
    """The decoder on one window: it takes tokens and remembers them. For one thread at a time."""

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        """Append tokens to the hypotheses.

        tokens: shape (hypotheses, tokens), int64. wanted: indices of tokens. Returns the logits of the tokens that
        follow the wanted ones, shape (hypotheses, wanted, vocabulary), float32.
        """
        ...

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the hypotheses: the new hypothesis i continues the old one `order[i]`."""
        ...

    def attention_scores(self) -> NDArray[np.float32]:
        """Query times key of the alignment heads, for the tokens of the last call.

        Shape (heads, tokens, positions), float32. Only for a single hypothesis.
        """
        ...


class WhisperGraphs(Protocol):
    """The graphs of a model, in the form of some exporter. Thread-safe."""

    @property
    def takes_any_layout(self) -> bool:
        """Whether the encoder takes condensed layouts, not only that of the longest window."""
        ...

    @property
    def has_queries(self) -> bool:
        """Whether sessions have attention scores."""
        ...

    def encode(self, features: Features, layout: Layout) -> Tensors:
        """What the decoder needs of a window. features: shape (mel bins, frames), float32, two frames per position."""
        ...

    def session(self, encoded: Tensors, hypotheses: int, capacity: int) -> DecoderSession:
        """A decoder session on an encoded window. capacity: maximum number of tokens of a hypothesis."""
        ...


@dataclass(frozen=True)
class Shape:
    """Sizes of a model's decoder, and the heads whose attention follows the words, as (layer, head)."""

    layers: int
    heads: int
    width: int
    alignment_heads: tuple[tuple[int, int], ...]

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.width // self.heads

    @property
    def query_layers(self) -> tuple[int, ...]:
        """The layers of the alignment heads."""
        return tuple(sorted({layer for layer, _ in self.alignment_heads}))


class CachedGraphs:
    """An encoder and a decoder in the form of `app.families.whisper.modules`.

    In INT8, the window is in the form of `scripts.exporting.whisper_int8_window`: its keys and values have scales, and
    the decoder takes the log-weights too. For OpenVINO, the decoder may have the form of
    `scripts.exporting.whisper_openvino`, which keeps its caches itself. Raises ArtifactError if the graphs have other
    inputs than these forms.
    """

    takes_any_layout = True

    def __init__(self, graphs: Mapping[str, CachingGraph], shape: Shape) -> None:
        self._encoder, self._decoder = graphs[ENCODER], graphs[DECODER]
        self._shape = shape
        self._window = tuple(name for name in self._encoder.outputs if name in self._decoder.inputs)
        self._is_int8 = LOG_WEIGHTS_INPUT in self._decoder.inputs
        self._is_stateful = ORDER_INPUT in self._decoder.inputs
        _check(self._encoder, tuple(encoder_inputs(0)), tensor_names("cross", shape.layers))
        weights = (LOG_WEIGHTS_INPUT,) if self._is_int8 else ()
        others = STATEFUL_DECODER_INPUTS if self._is_stateful else decoder_inputs(shape.layers)
        _check(self._decoder, (*others, *self._window, *weights), (LOGITS_OUTPUT,))
        queries = {f"query_{layer}" for layer in shape.query_layers}
        self.has_queries = bool(queries) and queries <= {*self._decoder.outputs}

    def encode(self, features: Features, layout: Layout) -> Tensors:
        """Keys and values of cross-attention, each of shape (1, heads, positions, head size), by name."""
        feeds: dict[str, NDArray[Any]] = {
            FEATURES_INPUT: features[np.newaxis],
            POSITIONS_INPUT: layout.positions,
            LOG_WEIGHTS_INPUT: layout.log_weights,
        }
        window = self._encoder(feeds, self._window)
        return window | {LOG_WEIGHTS_INPUT: layout.log_weights} if self._is_int8 else window

    def session(self, encoded: Tensors, hypotheses: int, capacity: int) -> "CachedSession | StatefulSession":
        """A decoder session on an encoded window."""
        layers = self._shape.query_layers if self.has_queries else ()
        if self._is_stateful:
            return StatefulSession(self._decoder, self._shape, layers, encoded, hypotheses)
        if self._is_int8:
            encoded = with_room(encoded, hypotheses * capacity)
        return CachedSession(self._decoder, self._shape, layers, encoded, hypotheses, capacity)


def with_room(window: Tensors, tokens: int) -> Tensors:
    """A window in INT8 with at least as many positions as tokens, which GroupQueryAttention needs.

    Only a long prompt or a wide beam on a short clip has more. The added positions have no weight.
    """
    missing = tokens - len(window[LOG_WEIGHTS_INPUT])
    if missing <= 0:
        return window
    room = {
        name: np.pad(values, ((0, 0), (0, 0), (0, missing), (0, 0))) if values.dtype == np.int8 else values
        for name, values in window.items()
    }
    room[LOG_WEIGHTS_INPUT] = np.pad(window[LOG_WEIGHTS_INPUT], (0, missing), constant_values=NO_WEIGHT)
    return room


class _Session:
    """What both kinds of session share: the bound decoder, its window, and the queries of the last call.

    caches: updated by each call. All of the window that is not among them stays the same.
    """

    def __init__(
        self,
        decoder: CachingGraph,
        shape: Shape,
        query_layers: Sequence[int],
        window: Tensors,
        caches: Sequence[Cache] = (),
    ) -> None:
        self._shape = shape
        self._window = window
        self._query_names = {layer: f"query_{layer}" for layer in query_layers}
        self._queries: dict[int, NDArray[np.float32]] = {}
        updated = {cache.input for cache in caches}
        fixed = {name: values for name, values in window.items() if name not in updated}
        self._decoder = decoder.bind(fixed, caches, [LOGITS_OUTPUT, *self._query_names.values()])

    def _append(self, tokens: NDArray[np.int64], wanted: Sequence[int], others: Tensors) -> Logits:
        """`DecoderSession.__call__`. others: the inputs that only this kind of decoder has."""
        computed = self._decoder({"input_ids": tokens, "wanted": np.array(wanted, dtype=np.int64), **others})
        self._queries = {layer: computed[name][0] for layer, name in self._query_names.items()}
        return np.asarray(computed[LOGITS_OUTPUT], dtype=np.float32)

    def attention_scores(self) -> NDArray[np.float32]:
        """Query times key of the alignment heads, shape (heads, tokens, positions), float32."""
        shape = self._shape
        scores = []
        for layer, head in shape.alignment_heads:
            name = f"cross_key_{layer}"
            keys = self._window[name][0, head]
            if (scale := self._window.get(scale_name(name))) is not None:
                keys = keys * scale[0, head]
            size = keys.shape[1]
            scores.append(self._queries[layer][:, head * size : (head + 1) * size] @ keys.T)
        return np.array(scores, dtype=np.float32)


class CachedSession(_Session):
    """A `DecoderSession` whose caches are updated in place."""

    def __init__(
        self,
        decoder: CachingGraph,
        shape: Shape,
        query_layers: Sequence[int],
        window: Tensors,
        hypotheses: int,
        capacity: int,
    ) -> None:
        self._length = 0
        size = (hypotheses, shape.heads, capacity, shape.head_size)
        past, present = tensor_names("past", shape.layers), tensor_names("present", shape.layers)
        # Not np.empty: a runtime may multiply what is behind the tokens so far by zero, and NaN would stay NaN.
        self._caches = [
            Cache(before, after, np.zeros(size, dtype=np.float32)) for before, after in zip(past, present, strict=True)
        ]
        updated = zip(tensor_names("cross", shape.layers), tensor_names("updated", shape.layers), strict=True)
        unchanged = [Cache(name, after, window[name]) for name, after in updated if after in decoder.outputs]
        super().__init__(decoder, shape, query_layers, window, [*self._caches, *unchanged])

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        """Append tokens to the hypotheses."""
        hypotheses, count = tokens.shape
        self._length += count
        lengths = {
            "lengths": np.full(hypotheses, self._length - 1, dtype=np.int32),
            "length": np.array(self._length, dtype=np.int32),
        }
        return self._append(tokens, wanted, lengths)

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the hypotheses."""
        if list(order) != list(range(len(order))):
            for cache in self._caches:
                filled = cache.values[:, :, : self._length]
                filled[:] = filled[list(order)]


class StatefulSession(_Session):
    """A `DecoderSession` whose decoder keeps its caches itself, and reorders them in its next call."""

    def __init__(
        self, decoder: CachingGraph, shape: Shape, query_layers: Sequence[int], window: Tensors, hypotheses: int
    ) -> None:
        super().__init__(decoder, shape, query_layers, window)
        self._unchanged = np.arange(hypotheses, dtype=np.int32)
        self._order = self._unchanged

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        """Append tokens to the hypotheses."""
        order, self._order = self._order, self._unchanged
        return self._append(tokens, wanted, {ORDER_INPUT: order})

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the hypotheses."""
        self._order = self._order[list(order)]


def layer_names(kind: str, layer: int) -> tuple[str, ...]:
    """Names of the keys and values of one layer, such as `past_key_0`."""
    return f"{kind}_key_{layer}", f"{kind}_value_{layer}"


def tensor_names(kind: str, layers: int) -> tuple[str, ...]:
    """Names of the keys and values of each layer, such as `past_key_0`."""
    return tuple(name for layer in range(layers) for name in layer_names(kind, layer))


def scale_name(name: str) -> str:
    """Name of the scales of keys or values in INT8."""
    return f"{name}_scale"


def encoder_inputs(bins: int) -> dict[str, Tensor]:
    """The encoder's inputs. bins: mel bins."""
    return {
        FEATURES_INPUT: Tensor("float32", (1, bins, None)),
        POSITIONS_INPUT: Tensor("int64", (None,)),
        LOG_WEIGHTS_INPUT: Tensor("float32", (None,)),
    }


TOKEN_INPUTS = {"input_ids": Tensor("int64", (None, None)), "wanted": Tensor("int64", (None,))}
"""The inputs that every decoder has."""
STATEFUL_DECODER_INPUTS = {**TOKEN_INPUTS, ORDER_INPUT: Tensor("int32", (None,))}
"""The inputs of a decoder that keeps its caches itself, without those of the window."""


def decoder_inputs(layers: int) -> dict[str, Tensor]:
    """The inputs of a decoder with caches, in order."""
    tensors = (*tensor_names("past", layers), *tensor_names("cross", layers))
    return {
        **TOKEN_INPUTS,
        "lengths": Tensor("int32", (None,)),
        "length": Tensor("int32", ()),
        **{name: Tensor("float32", (None, None, None, None)) for name in tensors},
    }


def _check(graph: Graph, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    if missing := sorted({*outputs} - {*graph.outputs}):
        raise ArtifactError(f"the model lacks the outputs {', '.join(missing)}")
    if different := sorted({*inputs} ^ {*graph.inputs}):
        raise ArtifactError(f"the model's inputs differ from its settings: {', '.join(different)}")
