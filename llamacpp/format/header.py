"""A file's first bytes, copied into private memory as far as a parser asks for them.

A mapped file can change between a check and the use of what was checked. So the header is
read once, with ordinary reads, and everything is parsed from the copy.
"""

from __future__ import annotations

import mmap
import struct
from typing import Protocol

from llamacpp.errors import FormatError, ModelFileError
from llamacpp.format.pages import advise_huge_pages

__all__ = ["HEADER_CAP", "ByteSource", "HeaderBytes", "quote"]

HEADER_CAP = 256 << 20
"""Longest header read, in bytes: over ten times the largest vocabularies known (some 20 MB).

A longer one is either hostile or not a header, and would take this much private memory.
"""

_FIRST_READ = 64 << 10
_LARGEST_READ = 1 << 20  # bounds what is read beyond the header's end
_HUGE_PAGE = 2 << 20

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class ByteSource(Protocol):
    """Where a header's bytes come from."""

    @property
    def name(self) -> str:
        """What messages call the source: the file's path."""

    @property
    def nbytes(self) -> int:
        """Size of the whole file, in bytes."""

    def read_at(self, offset: int, into: memoryview) -> int:
        """Fill `into` with the bytes at `offset`; return how many there were.

        Raises:
            ModelFileError: the source cannot be read.
        """


class HeaderBytes:
    """The private copy of a header, growing as it is read; a cursor for its parser.

    Memory is one anonymous mapping, so that its address stays and untouched pages cost nothing.
    It lives as long as any view of it does.
    """

    def __init__(self, source: ByteSource) -> None:
        self.name = source.name
        self.file_nbytes = source.nbytes
        self.pos = 0
        self.have = 0
        self._source = source
        self._limit = min(source.nbytes, HEADER_CAP)
        room = (self._limit // _HUGE_PAGE + 1) * _HUGE_PAGE  # the last bytes get a huge page too
        try:
            self._mapping = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError as error:
            raise ModelFileError(
                f"{self.name}: cannot reserve {room >> 20} MiB to read the header: {error.strerror}"
            ) from error
        self._private = memoryview(self._mapping)
        self.memory = self._private.toreadonly()

    @property
    def left(self) -> int:
        """Bytes between the cursor and the end of the file."""
        return self.file_nbytes - self.pos

    def require(self, nbytes: int, what: str) -> None:
        """Make the next `nbytes` bytes available.

        Args:
            nbytes: how many, from the cursor on.
            what: the thing they belong to, for the message.

        Raises:
            FormatError: the file ends before, or the header is longer than `HEADER_CAP`.
            ModelFileError: the file cannot be read.
        """
        end = self.pos + nbytes
        if end > self.have:
            if end > self.file_nbytes:
                raise self.error(
                    f"{what} at byte {self.pos} runs past the end of the file "
                    f"({self.file_nbytes} bytes): the file is cut short or damaged"
                )
            if end > self._limit:
                raise self.error(
                    f"the header is longer than {HEADER_CAP >> 20} MiB, over ten times "
                    f"what any known model needs (at {what}): the file is damaged"
                )
            self._read_to(end)

    def _read_to(self, end: int) -> None:
        while self.have < end:
            if self.have >= _LARGEST_READ:  # a large vocabulary: page faults are most of the cost
                advise_huge_pages(self._mapping)
            step = min(max(self.have, _FIRST_READ), _LARGEST_READ)
            stop = min(self.have + step, self._limit)
            got = self._source.read_at(self.have, self._private[self.have : stop])
            if got <= 0:
                raise ModelFileError(f"{self.name}: the file became shorter while it was read")
            self.have += got

    def take(self, layout: struct.Struct, what: str) -> int | float:
        """Step over one number and return it."""
        value: int | float = layout.unpack_from(self.memory, self._step(layout.size, what))[0]
        return value

    def take_u32(self, what: str) -> int:
        """Step over an unsigned 32-bit number and return it."""
        return self.take_size(4, what)

    def take_size(self, width: int, what: str) -> int:
        """Step over a length or count of `width` bytes, 4 or 8, and return it."""
        layout = _U32 if width == 4 else _U64
        value: int = layout.unpack_from(self.memory, self._step(width, what))[0]
        return value

    def take_all(self, layout: struct.Struct, what: str) -> tuple[int, ...]:
        """Step over some integers and return them."""
        return layout.unpack_from(self.memory, self._step(layout.size, what))

    def take_bytes(self, nbytes: int, what: str) -> memoryview:
        """Step over `nbytes` bytes and return a view of them."""
        start = self._step(nbytes, what)
        return self.memory[start : self.pos]

    def _step(self, nbytes: int, what: str) -> int:
        start = self.pos
        if start + nbytes > self.have:
            self.require(nbytes, what)
        self.pos = start + nbytes
        return start

    def peek(self, nbytes: int) -> memoryview:
        """View up to `nbytes` bytes at the cursor: fewer where the file ends."""
        nbytes = min(nbytes, self.left)
        self.require(nbytes, "the start of the file")
        return self.memory[self.pos : self.pos + nbytes]

    def error(self, message: str) -> FormatError:
        """Build a FormatError that names the file."""
        return FormatError(f"{self.name}: {message}")


def quote(text: str) -> str:
    """Quote a name from the file for a message: escaped, and cut if it is long."""
    return repr(text) if len(text) <= 80 else repr(text[:80]) + "..."
