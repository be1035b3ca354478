"""Appends nodes to an ONNX model in memory, so that serving needs no `onnx` package.

An ONNX model is a protobuf message. If two messages of one type are concatenated, a parser merges them: it appends the
lists of the second to those of the first (https://protobuf.dev/programming-guides/encoding, "Last One Wins"). So the
bytes of a model, followed by those of a model with more nodes, inputs and outputs, are the extended model. The appended
nodes may read every tensor of the first model by its name.

The field numbers below are those of onnx.proto3.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Attribute = int | str | tuple[int, ...]
"""Value of an attribute. Integers are not negative."""

VARINT, BYTES = 0, 2
"""Wire types of protobuf: an integer of variable length, and bytes after their length."""
FLOAT, INT64 = 1, 7
"""Element types: TensorProto.DataType."""
ATTRIBUTE_INT, ATTRIBUTE_STRING, ATTRIBUTE_INTS = 2, 3, 7
"""AttributeProto.AttributeType."""


def extended(
    model: bytes,
    nodes: Sequence[bytes],
    initializers: Sequence[bytes] = (),
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> bytes:
    """A serialized model with more nodes, in topological order.

    initializers: constants of the nodes. inputs, outputs: names of float tensors that become inputs and outputs.
    """
    graph = b"".join(_field(1, node) for node in nodes)
    graph += b"".join(_field(5, tensor) for tensor in initializers)
    graph += b"".join(_field(11, _float_value(name)) for name in inputs)
    graph += b"".join(_field(12, _float_value(name)) for name in outputs)
    return model + _field(7, graph)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute) -> bytes:
    """A serialized NodeProto, named after its first output. An input without a name is left out."""
    encoded = b"".join(_field(1, name) for name in inputs) + b"".join(_field(2, name) for name in outputs)
    encoded += _field(3, outputs[0]) + _field(4, operator)
    return encoded + b"".join(_field(5, _attribute(name, value)) for name, value in attributes.items())


def int64_tensor(name: str, values: NDArray[np.int64]) -> bytes:
    """A serialized TensorProto. values: any shape, int64."""
    shape = b"".join(_field(1, size) for size in values.shape)
    return shape + _field(2, INT64) + _field(8, name) + _field(9, values.astype("<i8").tobytes())


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, ATTRIBUTE_INT)
    if isinstance(value, str):
        return _field(1, name) + _field(4, value) + _field(20, ATTRIBUTE_STRING)
    return _field(1, name) + b"".join(_field(8, item) for item in value) + _field(20, ATTRIBUTE_INTS)


def _float_value(name: str) -> bytes:
    """A ValueInfoProto of a float tensor of any shape."""
    tensor_type = _field(1, FLOAT)
    return _field(1, name) + _field(2, _field(1, tensor_type))


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message. value: a non-negative integer, a text, or bytes such as those of another message."""
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; the highest bit of a byte says whether another follows."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
