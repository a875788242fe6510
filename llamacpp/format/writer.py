"""Write GGUF files: version 3, little-endian, streamed, and complete or not at all.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, cast

from llamacpp.errors import InvalidArgumentError, ModelFileError
from llamacpp.format.encode import Value, encode_string, encode_value
from llamacpp.format.gguf import (
    DEFAULT_ALIGNMENT,
    MAGIC,
    MAX_ALIGNMENT,
    MAX_DIMS,
    MAX_ELEMENTS,
    MAX_KEY_BYTES,
    MAX_NAME_BYTES,
    MIN_ALIGNMENT,
    TensorInfo,
)
from llamacpp.format.types import GGMLType, ValueType

__all__ = ["GGUFWriter"]

Buffer: TypeAlias = bytes | bytearray | memoryview  # or anything memoryview() accepts

_VERSION = 3


class GGUFWriter:
    """Writes one file: first metadata and the tensors' names, types and shapes; then their data.

        with GGUFWriter("model.gguf") as writer:
            writer.add("general.architecture", "llama")
            writer.add_tensor("output_norm.weight", GGMLType.F32, (64,))
            writer.write_tensor("output_norm.weight", weights)

    Data is written in the order in which the tensors were added, and never held here, so a file
    can be larger than memory. The file appears under its name when the `with` block ends without
    an exception (or at `close`); until then, and after any failure, the name is untouched.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        alignment: int = DEFAULT_ALIGNMENT,
        overwrite: bool = True,
    ) -> None:
        """Prepare to write `path`.

        Args:
            path: the file to write.
            alignment: tensors start at multiples of it: a power of two from 8 to 1 MiB.
            overwrite: replace the file if it exists. Otherwise an existing one is an error, now
                and when the new file is complete.

        Raises:
            InvalidArgumentError: the alignment is not such a number.
            ModelFileError: the path may not be replaced.
        """
        if not MIN_ALIGNMENT <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
            raise InvalidArgumentError(
                f"alignment {alignment} is not a power of two from {MIN_ALIGNMENT} "
                f"to {MAX_ALIGNMENT}"
            )
        self.path = Path(path)
        self.alignment = alignment
        self.overwrite = overwrite
        self._check_free()
        self._entries: dict[str, bytes] = {}
        self._tensors: dict[str, TensorInfo] = {}
        self._todo: Iterator[TensorInfo] = iter(())
        self._next: TensorInfo | None = None
        self._data_nbytes = 0
        self._fd = -1
        self._closed = False
        self._temporary = self.path.with_name(f".{os.urandom(8).hex()}.gguf.tmp")
        if alignment != DEFAULT_ALIGNMENT:
            self._entries["general.alignment"] = encode_value(alignment, ValueType.UINT32)

    def add(self, key: str, value: Value, kind: ValueType | None = None) -> None:
        """Add one metadata entry.

        Args:
            key: unique; ASCII, dotted, by convention.
            value: a scalar, or a sequence of scalars of one kind. Text may be given as bytes.
                Arrays of an open file are taken as they are.
            kind: how to store the value, or the elements of the sequence. By default text is
                STRING, a bool BOOL, a float FLOAT32. An integer is UINT32 and an array of integers
                INT32, as the standard keys have it, or the next type that holds the values.

        Raises:
            InvalidArgumentError: the key is empty, too long or already there; the data has begun;
                the value does not fit `kind`, mixes kinds, or is empty without a `kind`.
        """
        self._check_declaring()
        _check_name(key, MAX_KEY_BYTES, "metadata key")
        if key == "general.alignment":
            raise InvalidArgumentError("set the alignment with GGUFWriter(..., alignment=...)")
        if key in self._entries:
            raise InvalidArgumentError(f"metadata {key!r} was already added")
        try:
            self._entries[key] = encode_value(value, kind)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"metadata {key!r}: {error}") from None

    def add_tensor(self, name: str, kind: GGMLType, shape: Sequence[int]) -> None:
        """Announce a tensor; its data follows later by `write_tensor`.

        Args:
            name: unique, 1 to 63 bytes.
            kind: storage type.
            shape: one to four extents, fastest first: (columns, rows) for a matrix.

        Raises:
            InvalidArgumentError: one of these breaks a rule, or the data has begun.
        """
        self._check_declaring()
        _check_name(name, MAX_NAME_BYTES, "tensor name")
        if name in self._tensors:
            raise InvalidArgumentError(f"tensor {name!r} was already added")
        extents = tuple(int(extent) for extent in shape)
        if not 1 <= len(extents) <= MAX_DIMS or min(extents) < 1:
            raise InvalidArgumentError(
                f"tensor {name!r}: a shape has 1 to {MAX_DIMS} positive extents, "
                f"not {list(extents)}"
            )
        if extents[0] % kind.block.length:
            raise InvalidArgumentError(
                f"tensor {name!r}: rows of {extents[0]} elements are not whole {kind.name} blocks "
                f"of {kind.block.length}"
            )
        rows = 1
        for extent in extents[1:]:
            rows *= extent
        if rows * extents[0] > MAX_ELEMENTS:
            raise InvalidArgumentError(f"tensor {name!r}: {list(extents)} is too large")
        nbytes = rows * kind.row_nbytes(extents[0])
        self._tensors[name] = TensorInfo(name, kind, extents, self._data_nbytes, nbytes)
        self._data_nbytes += nbytes + -nbytes % self.alignment

    def write_tensor(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        """Write a tensor's data. The first call writes the header and ends the announcements.

        Any failure ends the writing: the temporary file is removed.

        Args:
            name: the next tensor, in the order of `add_tensor`.
            data: the bytes, as any C-contiguous buffer (a NumPy array is one),
                or an iterable of such buffers.

        Raises:
            InvalidArgumentError: another tensor is next, or the data has not the tensor's size.
            ModelFileError: the file cannot be written.
        """
        try:
            if self._fd < 0:
                self._begin()
            self._write_tensor(name, data)
        except BaseException:
            self.abandon()
            raise

    def close(self) -> None:
        """Finish: put the complete file in its place. Does nothing if that was done.

        Raises:
            InvalidArgumentError: the data of a tensor is missing.
            ModelFileError: the file cannot be written.
        """
        if self._closed:
            return
        try:
            if self._fd < 0:
                self._begin()
            if self._next is not None:
                raise InvalidArgumentError(
                    f"tensor {self._next.name!r} was added, but its data was not written"
                )
            os.fsync(self._fd)
            self._check_free()
            self._release()  # some file systems report a full disk only here
            self._temporary.replace(self.path)
        except OSError as error:
            self.abandon()
            raise self._failure(error) from error
        except BaseException:
            self.abandon()
            raise
        self._closed = True

    def abandon(self) -> None:
        """Give up: remove what was written. Does nothing after `close`."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._release()
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def __enter__(self) -> GGUFWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _check_free(self) -> None:
        if self.path.is_dir():
            raise ModelFileError(f"{self.path}: cannot write: Is a directory")
        if not self.overwrite and os.path.lexists(self.path):
            raise ModelFileError(f"{self.path}: exists already, and is left as it is")

    def _check_declaring(self) -> None:
        if self._closed:
            raise InvalidArgumentError(f"{self.path}: the writer is closed")
        if self._fd >= 0:
            raise InvalidArgumentError(
                "metadata and tensors must be added before the first tensor's data is written"
            )

    def _begin(self) -> None:
        """Create the temporary file and write everything that comes before the data."""
        if self._closed:
            raise InvalidArgumentError(f"{self.path}: the writer is closed")
        header = bytearray(MAGIC)
        header += struct.pack("<IQQ", _VERSION, len(self._tensors), len(self._entries))
        for key, payload in self._entries.items():
            header += encode_string(key.encode()) + payload
        for info in self._tensors.values():
            header += encode_string(info.name.encode())
            header += struct.pack(f"<I{len(info.shape)}Q", len(info.shape), *info.shape)
            header += struct.pack("<IQ", info.type, info.offset)
        header += bytes(-len(header) % self.alignment)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._fd = os.open(self._temporary, flags, 0o666)
        except OSError as error:
            raise self._failure(error) from error
        self._todo = iter(self._tensors.values())
        self._next = next(self._todo, None)
        self._write(memoryview(header))

    def _write_tensor(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        info = self._next
        if info is None or info.name != name:
            due = "no more tensors were added" if info is None else f"{info.name!r} is next"
            raise InvalidArgumentError(f"tensor {name!r} cannot be written now: {due}")
        written = 0
        for piece in _pieces(name, data):
            written += len(piece)
            if written > info.nbytes:
                break
            self._write(piece)
        if written != info.nbytes:
            given = f"only {written}" if written < info.nbytes else "more"
            raise InvalidArgumentError(
                f"tensor {name!r}: {info.type.name} {list(info.shape)} takes {info.nbytes} bytes, "
                f"but {given} were given"
            )
        self._write(memoryview(bytes(-info.nbytes % self.alignment)))
        self._next = next(self._todo, None)

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise self._failure(error) from error

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _failure(self, error: OSError) -> ModelFileError:
        return ModelFileError(f"{self.path}: cannot write: {error.strerror}")


def _check_name(name: str, limit: int, what: str) -> None:
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{what} {name!r} is not valid Unicode") from None
    if not 1 <= length <= limit:
        raise InvalidArgumentError(
            f"{what} {name[:80]!r} is {length} bytes long; 1 to {limit} are allowed"
        )


def _pieces(name: str, data: Buffer | Iterable[Buffer]) -> Iterator[memoryview]:
    """View one buffer, or each of many, as bytes."""
    pieces: Iterable[Buffer]
    try:
        pieces = [memoryview(cast(Buffer, data))]
    except TypeError:
        pieces = cast("Iterable[Buffer]", data if isinstance(data, Iterable) else [data])
    for piece in pieces:
        try:
            view = memoryview(piece).cast("B")
        except TypeError as error:
            raise InvalidArgumentError(
                f"tensor {name!r}: the data is not a contiguous buffer, nor made of such ({error})"
            ) from None
        yield view
