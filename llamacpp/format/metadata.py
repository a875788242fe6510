"""A file's key-value metadata: lazy arrays, and access that checks the declared types.

Arrays are views of the header's private copy. A vocabulary costs nothing until its entries
are asked for, one by one or all at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias, TypeVar, overload

from llamacpp.errors import FormatError
from llamacpp.format.strings import string_offsets
from llamacpp.format.types import ValueType

__all__ = ["Metadata", "MetadataValue", "NumericArray", "StringArray"]


class StringArray(Sequence[str]):
    """A metadata array of strings, left as the bytes they are in the file.

    Attributes:
        data: the array's bytes: each string's length (`length_width` bytes, little-endian),
            then its bytes, one after another.
        length_width: 4 in GGUF v1, otherwise 8.
    """

    element_type = ValueType.STRING

    def __init__(self, data: memoryview, count: int, length_width: int, label: str) -> None:
        self.data = data
        self.length_width = length_width
        self._count = count
        self._label = label
        self._offsets: array[int] | None = None

    def offsets(self) -> array[int]:
        """Where each string's length field starts in `data`, and the end: len + 1 numbers, u64.

        String i is `data[offsets[i] + length_width : offsets[i + 1]]`. Built at the first call.
        """
        if self._offsets is None:
            self._offsets = string_offsets(self.data, self._count, self.length_width)
        return self._offsets

    def raw(self, index: int) -> bytes:
        """Bytes of one string, undecoded. Negative indices count from the end."""
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"{self._label} has {self._count} entries, no index {index}")
        offsets = self.offsets()
        return bytes(self.data[offsets[index] + self.length_width : offsets[index + 1]])

    def iter_raw(self) -> Iterator[bytes]:
        """Bytes of every string in turn."""
        data, offsets, width = self.data.tobytes(), self.offsets(), self.length_width
        for start, end in pairwise(offsets):
            yield data[start + width : end]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Decode one string, or those of a slice.

        Raises:
            FormatError: a string is not valid UTF-8.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        return _decode(self.raw(index), f"entry {index} of {self._label}")

    def __iter__(self) -> Iterator[str]:
        for i, raw in enumerate(self.iter_raw()):
            yield _decode(raw, f"entry {i} of {self._label}")

    def __repr__(self) -> str:
        return f"<StringArray of {self._count}>"


class NumericArray(Sequence[int | float]):
    """A metadata array of numbers or booleans, left in place.

    Attributes:
        element_type: what the numbers are stored as.
        data: the elements as a typed memoryview (`data.format` is the `struct` code).
            Its address need not be a multiple of the element size.
    """

    def __init__(self, data: memoryview, element_type: ValueType) -> None:
        self.data = data.cast(element_type.code)  # type: ignore[call-overload]
        self.element_type = element_type

    def tolist(self) -> list[int] | list[float]:
        """All elements as Python numbers."""
        values: list[int] | list[float] = self.data.tolist()
        return values

    def __len__(self) -> int:
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> int | float: ...
    @overload
    def __getitem__(self, index: slice) -> list[int | float]: ...
    def __getitem__(self, index: int | slice) -> int | float | list[int | float]:
        """Read one element, or those of a slice."""
        if isinstance(index, slice):
            return list(self.data[index])
        element: int | float = self.data[index]
        return element

    def __iter__(self) -> Iterator[int | float]:
        return iter(self.data)

    def __repr__(self) -> str:
        return f"<NumericArray of {len(self.data)} {self.element_type.name}>"


MetadataArray: TypeAlias = StringArray | NumericArray
MetadataValue: TypeAlias = int | float | bool | str | StringArray | NumericArray
_D = TypeVar("_D")


class _Required:
    """Stands for "no default": the key must be there."""


_REQUIRED = _Required()


class Metadata(Mapping[str, MetadataValue]):
    """The metadata of a file, in file order.

    `metadata[key]` and `get` give whatever is stored. Code that relies on a value asks by
    type: `integer`, `number`, `boolean`, `string`, `strings`, `numbers`. These check the declared
    type, and the element type and count of arrays, and raise `FormatError` naming the key.
    Without a default a missing key is an error as well.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._types: dict[str, ValueType] = {}
        self._values: dict[str, int | float | memoryview | MetadataArray] = {}

    def __getitem__(self, key: str) -> MetadataValue:
        """Read a value as it is stored.

        Raises:
            KeyError: there is no such key.
            FormatError: the value is a string that is not valid UTF-8.
        """
        value = self._values[key]
        if isinstance(value, memoryview):
            return _decode(bytes(value), f"{self._name}: metadata {key!r}")
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Metadata of {self._name}: {len(self)} keys>"

    def type_of(self, key: str) -> ValueType:
        """Read the declared type of a value; KeyError where there is none."""
        return self._types[key]

    def raw(self, key: str) -> bytes:
        """Bytes of a string value, undecoded."""
        value = self._values[key]
        if not isinstance(value, memoryview):
            raise self._mismatch(key, "a string")
        return bytes(value)

    def integer(
        self, key: str, default: _D | _Required = _REQUIRED, *, low: int = 0, high: int = 2**63 - 1
    ) -> int | _D:
        """Read an integer of any of the eight widths, from `low` to `high`."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not self._types[key].is_integer or not isinstance(value, int):
            raise self._mismatch(key, "an integer")
        if not low <= value <= high:
            raise FormatError(f"{self._name}: metadata {key!r} is {value}, outside {low} to {high}")
        return value

    def number(self, key: str, default: _D | _Required = _REQUIRED) -> float | _D:
        """Read a FLOAT32 or FLOAT64; it may be infinite or NaN."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not self._types[key].is_float or not isinstance(value, float):
            raise self._mismatch(key, "a floating-point number")
        return value

    def boolean(self, key: str, default: _D | _Required = _REQUIRED) -> bool | _D:
        """Read a BOOL."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not isinstance(value, bool):
            raise self._mismatch(key, "a boolean")
        return value

    def string(self, key: str, default: _D | _Required = _REQUIRED) -> str | _D:
        """Read a string."""
        if key not in self._values:
            return self._default(key, default)
        value = self[key]
        if not isinstance(value, str):
            raise self._mismatch(key, "a string")
        return value

    def strings(
        self, key: str, default: _D | _Required = _REQUIRED, *, length: int | None = None
    ) -> StringArray | _D:
        """Read an array of strings, of `length` entries where that is given."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not isinstance(value, StringArray):
            raise self._mismatch(key, "an array of strings")
        self._check_length(key, len(value), length)
        return value

    def numbers(
        self,
        key: str,
        element: ValueType,
        default: _D | _Required = _REQUIRED,
        *,
        length: int | None = None,
    ) -> NumericArray | _D:
        """Read an array of `element`, of `length` entries where that is given."""
        if key not in self._values:
            return self._default(key, default)
        value = self._values[key]
        if not isinstance(value, NumericArray) or value.element_type is not element:
            raise self._mismatch(key, f"an array of {element.name}")
        self._check_length(key, len(value), length)
        return value

    def _add(
        self, key: str, kind: ValueType, value: int | float | memoryview | MetadataArray
    ) -> None:
        self._types[key] = kind
        self._values[key] = value

    def _default(self, key: str, default: _D | _Required) -> _D:
        if isinstance(default, _Required):
            raise FormatError(
                f"{self._name}: metadata {key!r} is missing, and the model cannot be used without"
            )
        return default

    def _mismatch(self, key: str, wanted: str) -> FormatError:
        kind = self._types[key]
        value = self._values[key]
        found = kind.name
        if isinstance(value, (StringArray, NumericArray)):
            found = f"ARRAY of {value.element_type.name}"
        return FormatError(f"{self._name}: metadata {key!r} must be {wanted}, but is {found}")

    def _check_length(self, key: str, found: int, wanted: int | None) -> None:
        if wanted is not None and found != wanted:
            raise FormatError(
                f"{self._name}: metadata {key!r} has {found} entries, but {wanted} are needed"
            )


def _decode(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{what} is not valid UTF-8 (byte {error.start}); `raw` gives its bytes"
        ) from None
