"""Walk the tensors of an old file, which has no directory, only a record before each one's data.

    u32 n_dims, u32 name length, u32 type, u32 dims[n_dims] (fastest first), name,
    zeros up to a multiple of the alignment (counted from the start of the file), data

What is read of a tensor is its record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format.gguf import TensorInfo
from llamacpp.format.header import ByteSource, quote
from llamacpp.format.legacy.layouts import OldType
from llamacpp.format.types import GGMLType

__all__ = ["read_records"]

MAX_DIMS = 2
MAX_NAME_BYTES = 63
_HEAD = struct.Struct("<III")
_LONGEST = _HEAD.size + 4 * MAX_DIMS + MAX_NAME_BYTES


def read_records(
    source: ByteSource, start: int, alignment: int, types: Mapping[int, GGMLType | OldType]
) -> Iterator[TensorInfo]:
    """Read every record from `start` to the end of the file, each into private memory.

    Raises:
        FormatError: a record, or the data that it announces, does not fit into the file.
        UnsupportedError: a type is none of `types`.
        ModelFileError: the source cannot be read.
    """
    while start < source.nbytes:
        info = _read_record(source, start, alignment, types)
        yield info
        start = info.offset + info.nbytes


def _read_record(
    source: ByteSource, start: int, alignment: int, types: Mapping[int, GGMLType | OldType]
) -> TensorInfo:
    def error(message: str) -> FormatError:
        return FormatError(f"{source.name}: {message}")

    buffer = bytearray(_LONGEST)
    have = source.read_at(start, memoryview(buffer))
    n_dims, name_nbytes, number = _HEAD.unpack_from(buffer)
    end = _HEAD.size
    if have >= end:
        if not 1 <= n_dims <= MAX_DIMS:
            raise error(
                f"the tensor at byte {start} has {n_dims} dimensions; 1 or {MAX_DIMS} are allowed"
            )
        if not 1 <= name_nbytes <= MAX_NAME_BYTES:
            raise error(
                f"the name of the tensor at byte {start} is {name_nbytes} bytes long; "
                f"1 to {MAX_NAME_BYTES} are allowed"
            )
        end += 4 * n_dims + name_nbytes
    if have < end:
        raise error(
            f"the record of a tensor at byte {start} runs past the end of the file "
            f"({source.nbytes} bytes): the file is cut short or damaged"
        )
    shape = struct.unpack_from(f"<{n_dims}I", buffer, _HEAD.size)
    name = bytes(buffer[end - name_nbytes : end]).decode("utf-8", "replace")
    what = f"tensor {quote(name)}"
    kind = types.get(number)
    if kind is None:
        raise UnsupportedError(
            f"{source.name}: {what} has the type id {number}, which files of this version do not "
            "have: the file is damaged"
        )
    if 0 in shape:
        raise error(f"{what} has a dimension of 0: {list(shape)}")
    if shape[0] % kind.block.length:
        raise error(
            f"{what}: rows of {shape[0]} elements are not whole {kind.name} blocks "
            f"of {kind.block.length}"
        )
    nbytes = kind.row_nbytes(shape[0]) * (shape[1] if n_dims == MAX_DIMS else 1)
    offset = -(-(start + end) // alignment) * alignment
    if offset + nbytes > source.nbytes:
        raise error(
            f"{what} ends at byte {offset + nbytes}, but the file has {source.nbytes} bytes: "
            "the download is incomplete or the file is damaged"
        )
    return TensorInfo(name, kind, shape, offset, nbytes)
