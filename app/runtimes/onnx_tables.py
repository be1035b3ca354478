"""Finds the large tables in an ONNX file whose rows are looked up, so that they can stay in the file.

A decoder reads its 8-bit embedding twice: all of it in the product that gives the logits, and a row for each token.
ONNX Runtime repacks it for the product and keeps the original for the rows. `map_tables` maps the original from the
file instead, so that only the rows that are read take memory.

An ONNX file is a protobuf message (https://protobuf.dev/programming-guides/encoding). The field numbers below are those
of onnx.proto3.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MIN_TABLE_BYTES = 4 << 20
"""Smaller tables are not worth a mapping."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""
GRAPH = 7
NODE, INITIALIZER = 1, 5
NODE_INPUT, NODE_OPERATOR = 1, 4
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME, TENSOR_VALUES = 1, 2, 8, 9
"""Numbers of the fields that are read, of ModelProto, GraphProto, NodeProto and TensorProto."""
LOOKUPS = ("Gather", "GatherBlockQuantized")
"""Operators that read rows of their first input."""
DTYPES = {2: np.dtype(np.uint8), 3: np.dtype(np.int8)}
"""TensorProto.DataType -> dtype, for types of one byte: they have no alignment in the file."""


@dataclass(frozen=True)
class MappedTables:
    """Initializers that are mapped from an ONNX file. tables: name -> values of any shape, uint8 or int8, read-only."""

    tables: dict[str, NDArray[np.generic]]
    _mapping: mmap.mmap | None = None

    def release(self) -> None:
        """Give the memory of all pages that were read back to the system. The next reads take them from the file."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)


def map_tables(path: Path) -> MappedTables:
    """Map the tables of at least `MIN_TABLE_BYTES` whose rows are looked up.

    A file that is not a model has none: the runtime will say what is wrong with it.
    """
    if path.stat().st_size < MIN_TABLE_BYTES:
        return MappedTables({})
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        tables = _tables_in(memoryview(mapping))
    except (IndexError, ValueError):
        tables = {}
    return MappedTables(tables, mapping if tables else None)


def _tables_in(model: memoryview) -> dict[str, NDArray[np.generic]]:
    looked_up: set[str] = set()
    tables: dict[str, NDArray[np.generic]] = {}
    for number, graph in _fields(model):
        if number != GRAPH or not isinstance(graph, memoryview):
            continue
        for part, message in _fields(graph):
            if not isinstance(message, memoryview):
                continue
            if part == NODE:
                node = list(_fields(message))
                if any(_text(value) in LOOKUPS for field, value in node if field == NODE_OPERATOR):
                    looked_up |= {_text(value) for field, value in node if field == NODE_INPUT}
            elif part == INITIALIZER and len(message) >= MIN_TABLE_BYTES:
                tables |= _table(message)
    return {name: table for name, table in tables.items() if name in looked_up}


def _table(tensor: memoryview) -> dict[str, NDArray[np.generic]]:
    """Name and values of a tensor; nothing if it is not of a type in `DTYPES`, or its values are elsewhere."""
    shape: list[int] = []
    fields: dict[int, int | memoryview] = {}
    for number, value in _fields(tensor):
        if number == TENSOR_SHAPE:
            shape += [value] if isinstance(value, int) else _integers(value)
        else:
            fields[number] = value
    values, dtype = fields.get(TENSOR_VALUES), DTYPES.get(int(fields.get(TENSOR_TYPE, 0)))
    if dtype is None or not isinstance(values, memoryview) or len(values) != prod(shape):
        return {}
    return {_text(fields[TENSOR_NAME]): np.frombuffer(values, dtype).reshape(shape)}


def _text(value: int | memoryview) -> str:
    return "" if isinstance(value, int) else bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or the bytes of anything else. Raises IndexError or ValueError."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == VARINT:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == BYTES:
            length, position = _varint(message, position)
        elif kind in (FIXED32, FIXED64):
            length = 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind}")
        if position + length > len(message):
            raise ValueError("the message is incomplete")
        yield key >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer, of at most 64 bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("the integer has no end")


def _integers(packed: memoryview) -> list[int]:
    position, found = 0, []
    while position < len(packed):
        value, position = _varint(packed, position)
        found.append(value)
    return found
