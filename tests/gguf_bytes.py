"""GGUF files built byte by byte, valid or broken in any one place, for the tests of every layer.

`model` makes a valid file from plain Python values. `gguf` with `entry`, `array`, `string` and
`tensor` makes whatever bytes a test wants. Independent of the package's own writer.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from llamacpp.format.types import GGMLType, ValueType

U8, I8, U16, I16 = ValueType.UINT8, ValueType.INT8, ValueType.UINT16, ValueType.INT16
U32, I32, F32, BOOL = ValueType.UINT32, ValueType.INT32, ValueType.FLOAT32, ValueType.BOOL
STRING, ARRAY = ValueType.STRING, ValueType.ARRAY
U64, I64, F64 = ValueType.UINT64, ValueType.INT64, ValueType.FLOAT64

Scalar = int | float | bool | str | bytes
Value = Scalar | Sequence[Scalar]


def size(value: int, version: int = 3) -> bytes:
    """A count or length: u32 in version 1, u64 since."""
    return struct.pack("<I" if version == 1 else "<Q", value)


def string(text: str | bytes, version: int = 3) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return size(len(raw), version) + raw


def scalar(kind: ValueType, value: Scalar, version: int = 3) -> bytes:
    if isinstance(value, (str, bytes)):
        assert kind is STRING
        return string(value, version)
    return struct.pack("<" + kind.code, value)


def array(
    kind: int, elements: Sequence[Scalar], version: int = 3, count: int | None = None
) -> bytes:
    """The value of an ARRAY entry; `count` may lie about the number of elements."""
    head = struct.pack("<I", kind) + size(len(elements) if count is None else count, version)
    return head + b"".join(scalar(ValueType(kind), e, version) for e in elements)


def entry(key: str | bytes, kind: int, value: Scalar, version: int = 3) -> bytes:
    """A metadata entry; a value given as bytes is put in as it is (strings need `string`)."""
    payload = value if isinstance(value, bytes) else scalar(ValueType(kind), value, version)
    return string(key, version) + struct.pack("<I", kind) + payload


def tensor(
    name: str | bytes,
    shape: Sequence[int],
    kind: int = GGMLType.F32,
    offset: int = 0,
    version: int = 3,
    n_dims: int | None = None,
) -> bytes:
    """A record of the tensor directory; `n_dims` may lie about the number of extents."""
    return (
        string(name, version)
        + struct.pack("<I", len(shape) if n_dims is None else n_dims)
        + b"".join(size(extent, version) for extent in shape)
        + struct.pack("<IQ", kind, offset)
    )


def gguf(
    entries: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    magic: bytes = b"GGUF",
    n_kv: int | None = None,
    n_tensors: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole file; `n_kv` and `n_tensors` may lie."""
    head = (
        magic
        + struct.pack("<I", version)
        + size(len(tensors) if n_tensors is None else n_tensors, version)
        + size(len(entries) if n_kv is None else n_kv, version)
        + b"".join(entries)
        + b"".join(tensors)
    )
    return head + bytes(-len(head) % alignment if data else 0) + data


def guess(value: Scalar) -> ValueType:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return U32 if 0 <= value < 2**32 else I64
    return F32 if isinstance(value, float) else STRING


def model(
    metadata: Mapping[str, Value],
    tensors: Mapping[str, tuple[GGMLType, Sequence[int], bytes]] | None = None,
    *,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """A valid file.

    Integers become UINT32 (in arrays INT32), floats FLOAT32, text STRING; a bytearray an array of
    UINT8, a memoryview one of INT8.
    `tensors` maps names to (type, shape with the fastest extent first, data).
    """
    entries = []
    for key, value in metadata.items():
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            kind = I32 if value and guess(value[0]) is U32 else guess(value[0] if value else "")
            kind = {bytearray: U8, memoryview: I8}.get(type(value), kind)
            entries.append(entry(key, ARRAY, array(kind, value, version), version))
        else:
            entries.append(entry(key, guess(value), scalar(guess(value), value, version), version))
    if alignment != 32:
        entries.append(entry("general.alignment", U32, alignment, version))
    records, data = [], bytearray()
    for name, (kind, shape, raw) in (tensors or {}).items():
        data += bytes(-len(data) % alignment)
        records.append(tensor(name, shape, kind, len(data), version))
        data += raw
    return gguf(entries, records, bytes(data), version=version, alignment=alignment)


class BytesSource:
    """A file in memory, for parsing without a file system; counts what is read from it."""

    def __init__(self, data: bytes, name: str = "test.gguf") -> None:
        self.data, self.name, self.nbytes = data, name, len(data)
        self.bytes_read = 0

    def read_at(self, offset: int, into: memoryview) -> int:
        piece = self.data[offset : offset + len(into)]
        into[: len(piece)] = piece
        self.bytes_read += len(piece)
        return len(piece)
