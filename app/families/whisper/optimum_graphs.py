"""The graphs of a Whisper model in the layout of optimum: what `optimum-cli export onnx` writes.

The encoder gives its last hidden states. The decoder comes in three forms, and each makes the keys and values of
cross-attention itself in its first call:

| graphs | further tokens |
|---|---|
| `decoder_model_merged` | the same graph; `use_cache_branch` chooses between prompt and step |
| `decoder_model`, `decoder_with_past_model` | the second graph, from the keys and values of the tokens so far |
| `decoder_model` | the same graph, on all tokens so far |

Keys and values grow by a copy in each step. No graph gives the queries of cross-attention, so words have no times.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.artifacts import ArtifactError
from app.families.whisper.graphs import FEATURES_INPUT, LOGITS_OUTPUT, DecoderSession, Logits, Shape
from app.families.whisper.log_mel import Features
from app.families.whisper.padding import Layout
from app.runtimes.graph import Graph, Tensors

ENCODER_MODEL = "encoder_model"
DECODER_MODEL, DECODER_WITH_PAST, MERGED_DECODER = "decoder_model", "decoder_with_past_model", "decoder_model_merged"
"""Names of the graphs; their file names start with them."""
OPTIMUM_LAYOUTS = (
    (ENCODER_MODEL, MERGED_DECODER),
    (ENCODER_MODEL, DECODER_MODEL, DECODER_WITH_PAST),
    (ENCODER_MODEL, DECODER_MODEL),
)
"""The graphs that make a model, the preferred ones first."""
TOKENS_INPUT, STATES_INPUT, BRANCH_INPUT = "input_ids", "encoder_hidden_states", "use_cache_branch"
POSITIONS_INPUT = "cache_position"
"""Positions of the tokens, int64; some versions of the exporter make it an input."""
STATES_OUTPUT = "last_hidden_state"


class OptimumGraphs:
    """An encoder and a decoder in the layout of optimum.

    Raises ArtifactError if the graphs have other inputs or outputs than that layout.
    """

    takes_any_layout = False
    """transformers adds all positions of the longest window in the encoder, so shorter features fail even in older
    files whose number of frames looks variable."""
    has_queries = False

    def __init__(self, graphs: Mapping[str, Graph], shape: Shape) -> None:
        self._encoder = graphs[ENCODER_MODEL]
        self._decoder = graphs.get(MERGED_DECODER) or graphs[DECODER_MODEL]
        self._next = graphs.get(MERGED_DECODER) or graphs.get(DECODER_WITH_PAST)
        self._shape = shape
        _check(self._encoder, {FEATURES_INPUT}, {STATES_OUTPUT})
        inputs = {TOKENS_INPUT, STATES_INPUT, BRANCH_INPUT, POSITIONS_INPUT, *past_names(shape, "decoder", "encoder")}
        outputs = {LOGITS_OUTPUT}
        if self._next is not None:
            _check(self._next, inputs, outputs | {present_name(name) for name in past_names(shape, "decoder")})
            outputs |= {present_name(name) for name in past_names(shape, "decoder", "encoder")}
        _check(self._decoder, inputs, outputs)

    def encode(self, features: Features, layout: Layout) -> Tensors:
        """The encoder's last hidden states, shape (1, positions, width), float32, by name. layout: always full."""
        return self._encoder({FEATURES_INPUT: features[np.newaxis]}, [STATES_OUTPUT])

    def session(self, encoded: Tensors, hypotheses: int, capacity: int) -> DecoderSession:
        """A decoder session on an encoded window. capacity: not needed, because all arrays grow."""
        states = np.repeat(encoded[STATES_OUTPUT], hypotheses, axis=0)
        if self._next is None:
            return RepeatingSession(self._decoder, states)
        return GrowingSession(self._decoder, self._next, self._shape, states)


class GrowingSession:
    """A `DecoderSession` whose keys and values are outputs of one call and inputs of the next.

    first: computes the prompt. following: computes each further token; it may be the same graph. states: of the
    encoder, shape (hypotheses, positions, width), float32.
    """

    def __init__(self, first: Graph, following: Graph, shape: Shape, states: NDArray[np.float32]) -> None:
        self._first, self._following = first, following
        self._decoder_past, self._encoder_past = past_names(shape, "decoder"), past_names(shape, "encoder")
        self._states = states
        nothing = np.zeros((len(states), shape.heads, 0, shape.head_size), dtype=np.float32)
        self._past = dict.fromkeys((*self._decoder_past, *self._encoder_past), nothing)
        self._length = 0

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        """Append tokens to the hypotheses. The graph for further tokens is made for one token at a time."""
        if self._length == 0:
            return self._call(tokens)[:, list(wanted)]
        logits = [self._call(tokens[:, index : index + 1]) for index in range(tokens.shape[1])]
        return np.concatenate(logits, axis=1)[:, list(wanted)]

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the hypotheses. Cross-attention is the same for all, because they share a window."""
        if list(order) != list(range(len(order))):
            for name in self._decoder_past:
                self._past[name] = self._past[name][list(order)]

    def attention_scores(self) -> NDArray[np.float32]:
        """Raises ArtifactError: the graphs have no queries."""
        raise _no_queries()

    def _call(self, tokens: NDArray[np.int64]) -> Logits:
        """One call of a graph. Shapes (hypotheses, tokens) -> (hypotheses, tokens, vocabulary)."""
        is_first = self._length == 0
        graph = self._first if is_first else self._following
        # After the first call, a merged decoder gives empty keys and values of cross-attention: keep the first ones.
        updated = (*self._decoder_past, *self._encoder_past) if is_first else self._decoder_past
        values: Tensors = {
            TOKENS_INPUT: tokens,
            STATES_INPUT: self._states,
            BRANCH_INPUT: np.array([not is_first]),
            POSITIONS_INPUT: np.arange(self._length, self._length + tokens.shape[1], dtype=np.int64),
            **self._past,
        }
        outputs = [LOGITS_OUTPUT, *map(present_name, updated)]
        computed = graph({name: values[name] for name in graph.inputs}, outputs)
        self._past |= {name: computed[present_name(name)] for name in updated}
        self._length += tokens.shape[1]
        return np.asarray(computed[LOGITS_OUTPUT], dtype=np.float32)


class RepeatingSession:
    """A `DecoderSession` that computes all tokens again in each call.

    states: of the encoder, shape (hypotheses, positions, width), float32.
    """

    def __init__(self, decoder: Graph, states: NDArray[np.float32]) -> None:
        self._decoder = decoder
        self._states = states
        self._tokens = np.zeros((len(states), 0), dtype=np.int64)

    def __call__(self, tokens: NDArray[np.int64], wanted: Sequence[int]) -> Logits:
        """Append tokens to the hypotheses."""
        before = self._tokens.shape[1]
        self._tokens = np.concatenate([self._tokens, tokens], axis=1)
        values: Tensors = {
            TOKENS_INPUT: self._tokens,
            STATES_INPUT: self._states,
            POSITIONS_INPUT: np.arange(self._tokens.shape[1], dtype=np.int64),
        }
        feeds = {name: values[name] for name in self._decoder.inputs}
        logits = self._decoder(feeds, [LOGITS_OUTPUT])[LOGITS_OUTPUT]
        return np.asarray(logits[:, [before + index for index in wanted]], dtype=np.float32)

    def reorder(self, order: Sequence[int]) -> None:
        """Replace the hypotheses."""
        self._tokens = self._tokens[list(order)]

    def attention_scores(self) -> NDArray[np.float32]:
        """Raises ArtifactError: the graph has no queries."""
        raise _no_queries()


def past_names(shape: Shape, *sources: str) -> tuple[str, ...]:
    """Names of the inputs for keys and values: of self-attention ("decoder"), of cross-attention ("encoder")."""
    return tuple(
        f"past_key_values.{layer}.{source}.{part}"
        for layer in range(shape.layers)
        for source in sources
        for part in ("key", "value")
    )


def present_name(past: str) -> str:
    """Name of the output that becomes an input in the next call."""
    return past.replace("past_key_values", "present")


def _check(graph: Graph, inputs: set[str], outputs: set[str]) -> None:
    """Raises ArtifactError unless a graph has these outputs, and no inputs but these."""
    if missing := sorted(outputs - {*graph.outputs}):
        raise ArtifactError(f"the model lacks the outputs {', '.join(missing)}")
    if unknown := sorted({*graph.inputs} - inputs):
        raise ArtifactError(f"the model has the unknown inputs {', '.join(unknown)}")
    for name, tensor in graph.inputs.items():
        if tensor.dtype == "float16":
            raise ArtifactError(f"the model computes in half precision ({name}), which CPUs do not do fast")


def _no_queries() -> ArtifactError:
    return ArtifactError("graphs in the layout of optimum have no queries of cross-attention")
