"""Parse a GGUF header: version, metadata, tensor directory. Versions 1 to 3, little-endian.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):

    "GGUF", u32 version, size n_tensors, size n_kv
    n_kv times       string key, u32 value type, value
    n_tensors times  string name, u32 n_dims, size dims[n_dims] (fastest first),
                     u32 type, u64 offset
    zeros up to a multiple of the alignment, then the tensors' data

A string is a size and that many bytes; an array is a u32 element type, a size and its elements.
A "size" is u32 in version 1 and u64 since. Offsets count from the start of the data.

Every number is checked before it is used, and nothing is allocated on a file's word alone.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from llamacpp.errors import UnsupportedError
from llamacpp.format.header import ByteSource, HeaderBytes, quote
from llamacpp.format.metadata import Metadata, MetadataArray, NumericArray, StringArray
from llamacpp.format.sniff import describe_foreign
from llamacpp.format.strings import walk_strings
from llamacpp.format.types import REMOVED_TYPES, GGMLType, ValueType

if TYPE_CHECKING:
    from llamacpp.format.legacy.layouts import OldType

__all__ = ["MAGIC", "GGUFHeader", "TensorInfo", "parse_header"]

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MIN_ALIGNMENT, MAX_ALIGNMENT = 8, 1 << 20

# Real files have tens of keys and up to some 25,000 tensors (unmerged experts). The limits keep
# the Python objects that a hostile directory can ask for within tens of megabytes.
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_KEY_BYTES = 65_535
MAX_NAME_BYTES = 63  # the reference implementation's 64 with a terminator
MAX_DIMS = 4
MAX_ELEMENTS = 2**63 - 1

_SCALARS = {kind: struct.Struct("<" + kind.code) for kind in ValueType if kind.code}
_VALUE_TYPES = {int(kind): kind for kind in ValueType}
_TENSOR_TYPES = {int(kind): kind for kind in GGMLType}
# Extents, type and offset of a tensor, by the width of a size and the number of extents.
_RECORDS = {
    (width, n_dims): struct.Struct(f"<{n_dims}{code}IQ")
    for width, code in ((4, "I"), (8, "Q"))
    for n_dims in range(1, MAX_DIMS + 1)
}


class TensorInfo(NamedTuple):
    """Where one tensor lies and how it is stored.

    Attributes:
        name: unique in the model.
        type: storage type of the elements; an `OldType` only in files of 2023 to be converted.
        shape: extents in file order, fastest first: `shape[0]` is the length of a row.
        offset: position of the first byte, from the start of its file.
        nbytes: size of the data.
        part: index of its file in a model of several parts, from 0.
    """

    name: str
    type: GGMLType | OldType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    part: int = 0


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says about itself.

    Attributes:
        version: 1, 2 or 3.
        alignment: every tensor starts at a multiple of it, counted from `data_offset`.
        metadata: the key-value pairs.
        tensors: the directory, in file order, checked against the file's size.
        data_offset: where the data begins, from the start of the file.
    """

    version: int
    alignment: int
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    data_offset: int

    @property
    def label(self) -> str:
        """Name and version of the format."""
        return f"GGUF v{self.version}"


def parse_header(source: ByteSource) -> GGUFHeader:
    """Parse the header of a GGUF file.

    Reads no more than the header and a megabyte, and creates no object per array element.

    Raises:
        FormatError: the bytes are no GGUF, or break a rule of the format.
        UnsupportedError: a valid file of a kind that is not supported (big-endian, a later
            version, a removed or unknown tensor type, nested arrays).
        ModelFileError: the source cannot be read.
    """
    header = HeaderBytes(source)
    version = _read_version(header)
    width = 4 if version == 1 else 8
    n_tensors = header.take_size(width, "the tensor count")
    n_kv = header.take_size(width, "the metadata count")
    _check_count(header, n_kv, MAX_KEYS, width + 1 + 4 + 1, "metadata entries")
    _check_count(header, n_tensors, MAX_TENSORS, width + 1 + 4 + width + 4 + 8, "tensors")

    metadata = Metadata(source.name)
    for _ in range(n_kv):
        _read_entry(header, metadata, width)
    alignment = _alignment(header, metadata)
    directory = [_read_tensor(header, width) for _ in range(n_tensors)]
    data_offset = _align(header.pos, alignment)
    tensors: dict[str, TensorInfo] = {}
    for name, kind, shape, offset in directory:
        if name in tensors:
            raise header.error(f"tensor {quote(name)} is listed twice")
        tensors[name] = _place(header, name, kind, shape, offset, data_offset, alignment)
    _check_overlap(header, tensors)
    return GGUFHeader(version, alignment, metadata, tensors, data_offset)


def _read_version(header: HeaderBytes) -> int:
    start = bytes(header.peek(64))
    if start[:4] != MAGIC:
        seen = describe_foreign(start) or f"it starts with {start[:4]!r} instead of {MAGIC!r}"
        raise header.error(f"not a GGUF file: {seen}")
    header.pos = len(MAGIC)
    version = header.take_u32("the version")
    if version in (1, 2, 3):
        return version
    if version and version & 0xFFFF == 0:
        raise UnsupportedError(
            f"{header.name}: a big-endian GGUF file; only little-endian files are supported: "
            "take the model's little-endian file"
        )
    if version == 0:
        raise header.error("GGUF version 0 does not exist: the file is damaged")
    raise UnsupportedError(
        f"{header.name}: GGUF version {version} is newer than this library, which reads 1 to 3"
    )


def _check_count(header: HeaderBytes, count: int, limit: int, record: int, what: str) -> None:
    if count > header.left // record:
        raise header.error(
            f"it claims {count} {what}, more than its {header.left} remaining bytes can hold"
        )
    if count > limit:
        raise header.error(f"it claims {count} {what}; more than {limit} are not plausible")


def _read_text(header: HeaderBytes, width: int, limit: int, what: str) -> str:
    """Read a key or a tensor name: 1 to `limit` bytes of UTF-8."""
    start = header.pos
    nbytes = header.take_size(width, what)
    if not 1 <= nbytes <= limit:
        raise header.error(
            f"{what} at byte {start} is {nbytes} bytes long; 1 to {limit} are allowed"
        )
    raw = bytes(header.take_bytes(nbytes, what))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise header.error(f"{what} at byte {start} is not valid UTF-8: {raw[:40]!r}") from None


def _read_entry(header: HeaderBytes, metadata: Metadata, width: int) -> None:
    key = _read_text(header, width, MAX_KEY_BYTES, "a metadata key")
    if key in metadata:
        raise header.error(f"metadata {quote(key)} is given twice")
    what = f"metadata {quote(key)}"
    kind = _value_type(header, what)
    if kind is ValueType.ARRAY:
        metadata._add(key, kind, _read_array(header, width, what))
    elif kind is ValueType.STRING:
        nbytes = header.take_size(width, what)
        metadata._add(key, kind, header.take_bytes(nbytes, what))
    elif kind is ValueType.BOOL:
        byte = header.take_bytes(1, what)[0]
        if byte > 1:
            raise header.error(f"{what} is a boolean with the value {byte}; 0 or 1 are allowed")
        metadata._add(key, kind, bool(byte))
    else:
        metadata._add(key, kind, header.take(_SCALARS[kind], what))


def _value_type(header: HeaderBytes, what: str) -> ValueType:
    number = header.take_u32(what)
    kind = _VALUE_TYPES.get(number)
    if kind is None:
        raise header.error(f"{what} has the unknown value type {number}")
    return kind


def _read_array(header: HeaderBytes, width: int, what: str) -> MetadataArray:
    element = _value_type(header, what)
    if element is ValueType.ARRAY:
        raise UnsupportedError(f"{header.name}: {what} is an array of arrays, which no model uses")
    count = header.take_size(width, what)
    smallest = width if element is ValueType.STRING else element.nbytes
    if count > header.left // smallest:
        raise header.error(
            f"{what} claims {count} elements, more than the {header.left} bytes left can hold"
        )
    if element is ValueType.STRING:
        return _read_strings(header, count, width, what)
    data = header.take_bytes(count * element.nbytes, what)
    if element is ValueType.BOOL and bytes(data).strip(b"\x00\x01"):
        raise header.error(f"{what} holds a boolean that is neither 0 nor 1")
    return NumericArray(data, element)


def _read_strings(header: HeaderBytes, count: int, width: int, what: str) -> StringArray:
    start, todo = header.pos, count
    while todo:
        walked, header.pos = walk_strings(header.memory, header.have, header.pos, todo, width)
        todo -= walked
        if todo:  # the next string reaches beyond what has been read: read as far as it says
            label = f"entry {count - todo} of {what}"
            header.require(width, label)
            at = header.pos
            nbytes = header.take_size(width, label)
            header.pos = at
            header.require(width + nbytes, label)
    return StringArray(header.memory[start : header.pos], count, width, f"{header.name}: {what}")


def _alignment(header: HeaderBytes, metadata: Metadata) -> int:
    key = "general.alignment"
    if key not in metadata:
        return DEFAULT_ALIGNMENT
    kind, value = metadata.type_of(key), metadata[key]
    if kind is not ValueType.UINT32 or not isinstance(value, int):
        raise header.error(f"metadata {key!r} must be UINT32, but is {kind.name}")
    if not MIN_ALIGNMENT <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise header.error(
            f"metadata {key!r} is {value}; a power of two from {MIN_ALIGNMENT} to "
            f"{MAX_ALIGNMENT} is required"
        )
    return value


def _read_tensor(header: HeaderBytes, width: int) -> tuple[str, GGMLType, tuple[int, ...], int]:
    name = _read_text(header, width, MAX_NAME_BYTES, "a tensor name")
    n_dims = header.take_u32("a tensor's entry")
    if not 1 <= n_dims <= MAX_DIMS:
        raise header.error(
            f"tensor {quote(name)} has {n_dims} dimensions; 1 to {MAX_DIMS} are allowed"
        )
    *extents, number, offset = header.take_all(_RECORDS[width, n_dims], "a tensor's entry")
    shape = tuple(extents)
    kind = _TENSOR_TYPES.get(number)
    if kind is None:
        _refuse_type(header, name, number)
    elements = math.prod(shape)
    if not 0 < elements <= MAX_ELEMENTS or shape[0] % kind.block.length:
        _refuse_shape(header, name, shape, kind)
    return name, kind, shape, offset


def _refuse_shape(
    header: HeaderBytes, name: str, shape: tuple[int, ...], kind: GGMLType
) -> NoReturn:
    what = f"tensor {quote(name)}"
    if 0 in shape:
        raise header.error(f"{what} has a dimension of 0: {list(shape)}")
    if math.prod(shape) > MAX_ELEMENTS:
        raise header.error(f"{what} has more elements than 63 bits can count: {list(shape)}")
    raise header.error(
        f"{what}: rows of {shape[0]} elements are not whole {kind.name} blocks "
        f"of {kind.block.length}"
    )


def _refuse_type(header: HeaderBytes, name: str, number: int) -> NoReturn:
    what = f"tensor {quote(name)}"
    removed = REMOVED_TYPES.get(number)
    if removed is not None:
        raise UnsupportedError(
            f"{header.name}: {what} has the type {removed} (id {number}), which was removed "
            "from the format: take a newer file of the model"
        )
    raise UnsupportedError(
        f"{header.name}: {what} has the unknown type id {number}: "
        "the file is newer than this library, or damaged"
    )


def _place(
    header: HeaderBytes,
    name: str,
    kind: GGMLType,
    shape: tuple[int, ...],
    offset: int,
    data_offset: int,
    alignment: int,
) -> TensorInfo:
    """Turn an offset within the data into a checked position in the file."""
    if offset % alignment:
        raise header.error(
            f"tensor {quote(name)}: offset {offset} is not a multiple of the alignment {alignment}"
        )
    nbytes = math.prod(shape[1:]) * kind.row_nbytes(shape[0])
    end = data_offset + offset + nbytes
    if end > header.file_nbytes:
        raise header.error(
            f"tensor {quote(name)} ends at byte {end}, but the file has {header.file_nbytes} "
            "bytes: the download is incomplete or the file is damaged"
        )
    return TensorInfo(name, kind, shape, data_offset + offset, nbytes)


def _check_overlap(header: HeaderBytes, tensors: dict[str, TensorInfo]) -> None:
    """Refuse tensors that share bytes; gaps between them are harmless."""
    previous: TensorInfo | None = None
    for info in sorted(tensors.values(), key=lambda info: info.offset):
        if previous is not None and info.offset < previous.offset + previous.nbytes:
            raise header.error(f"tensors {quote(previous.name)} and {quote(info.name)} overlap")
        previous = info


def _align(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment
