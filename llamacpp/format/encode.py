"""Metadata values as GGUF bytes, and the choice of a type where the caller leaves it open."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeAlias

from llamacpp.errors import InvalidArgumentError
from llamacpp.format.metadata import NumericArray, StringArray
from llamacpp.format.types import ValueType

__all__ = ["Scalar", "Value", "encode_string", "encode_value"]

Scalar: TypeAlias = int | float | bool | str | bytes
Value: TypeAlias = Scalar | Sequence[Scalar] | StringArray | NumericArray

# Integers take the first that holds them: what the standard keys use, then what is wider.
_SCALAR_INTEGERS = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64)
_ARRAY_INTEGERS = (ValueType.INT32, ValueType.UINT32, ValueType.INT64, ValueType.UINT64)
_RANGES = {
    ValueType.UINT32: (0, 2**32 - 1),
    ValueType.INT32: (-(2**31), 2**31 - 1),
    ValueType.UINT64: (0, 2**64 - 1),
    ValueType.INT64: (-(2**63), 2**63 - 1),
}


def encode_string(raw: bytes) -> bytes:
    """Write a string: its length as u64, then its bytes."""
    return struct.pack("<Q", len(raw)) + raw


def encode_value(value: Value, kind: ValueType | None) -> bytes:
    """Write a value: its type number, then its bytes.

    Args:
        value: a scalar, a sequence of scalars of one kind, or an array of an open file.
        kind: how to store the value, or the elements of the sequence; None to choose.

    Raises:
        InvalidArgumentError: the value does not fit `kind`, mixes kinds, or is of no kind known.
    """
    if kind is ValueType.ARRAY:
        raise InvalidArgumentError("give the type of the elements; arrays do not nest")
    if isinstance(value, (StringArray, NumericArray)):
        return _encode_stored_array(value, kind)
    if isinstance(value, (str, bytes, int, float)):
        kind = kind if kind is not None else _choose([value], _SCALAR_INTEGERS)
        return struct.pack("<I", kind) + _encode_elements([value], kind)
    if not isinstance(value, Sequence):
        raise InvalidArgumentError(f"a {type(value).__name__} cannot be stored")
    if kind is None:
        if not value:
            raise InvalidArgumentError("an empty array needs the type of its elements")
        kind = _choose(value, _ARRAY_INTEGERS)
    return _array_head(kind, len(value)) + _encode_elements(value, kind)


def _array_head(kind: ValueType, count: int) -> bytes:
    return struct.pack("<IIQ", ValueType.ARRAY, kind, count)


def _encode_stored_array(value: StringArray | NumericArray, kind: ValueType | None) -> bytes:
    if kind is not None and kind is not value.element_type:
        raise InvalidArgumentError(f"an array of {value.element_type.name} is not {kind.name}")
    head = _array_head(value.element_type, len(value))
    if isinstance(value, NumericArray) or value.length_width == 8:
        return head + value.data.tobytes()
    return head + b"".join(map(encode_string, value.iter_raw()))


def _choose(values: Sequence[Scalar], integers: tuple[ValueType, ...]) -> ValueType:
    if all(isinstance(v, bool) for v in values):
        return ValueType.BOOL
    if all(isinstance(v, (str, bytes)) for v in values):
        return ValueType.STRING
    if all(isinstance(v, float) for v in values):
        return ValueType.FLOAT32
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if len(numbers) != len(values):
        kinds = ", ".join(sorted({type(v).__name__ for v in values}))
        raise InvalidArgumentError(f"no one type holds the kinds of value given: {kinds}")
    lowest, highest = min(numbers), max(numbers)
    for kind in integers:
        low, high = _RANGES[kind]
        if low <= lowest and highest <= high:
            return kind
    raise InvalidArgumentError(f"no type holds both {lowest} and {highest}")


def _encode_elements(values: Sequence[Scalar], kind: ValueType) -> bytes:
    if kind is ValueType.STRING:
        return b"".join(encode_string(_as_bytes(value)) for value in values)
    if kind is ValueType.BOOL and not all(isinstance(value, bool) for value in values):
        raise InvalidArgumentError("a BOOL must be True or False")
    try:
        return struct.pack(f"<{len(values)}{kind.code}", *values)
    except (struct.error, OverflowError, TypeError) as error:
        raise InvalidArgumentError(f"no {kind.name}: {error}") from None


def _as_bytes(value: Scalar) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"text that is not valid Unicode: {error}") from None
    raise InvalidArgumentError(f"a {type(value).__name__} is not text")
