"""Open a model file and map it: shared with every process, never copied, never written.

What depends on the operating system in opening files is here alone.
"""

from __future__ import annotations

import mmap
import os
import stat
import weakref
from pathlib import Path

from llamacpp.errors import ModelFileError
from llamacpp.format.pages import address_of, advise_huge_pages

__all__ = ["MappedFile"]


class MappedFile:
    """A regular file, open for reading and mapped whole.

    The mapping lives as long as anything refers to it: this object, or any view of `memory`.
    There is no way to unmap it under a user's feet.

    Attributes:
        path: as given.
        nbytes: size when opened.
        memory: the whole file, read-only.
        address: where `memory` begins in this process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open and map `path`.

        Raises:
            ModelFileError: there is no such file, it is not a regular file, it is empty,
                or it may not be read or mapped.
        """
        self.path = Path(path)
        # Opening a named pipe would wait for its writer; O_NONBLOCK lets us look first.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags)
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot open: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path
            raise ModelFileError(f"{str(self.path)!r}: cannot open: {error}") from error
        weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        if stat.S_ISDIR(status.st_mode):
            raise ModelFileError(f"{self.path}: is a directory; name the .gguf file in it")
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{self.path}: is not a regular file and cannot be mapped")
        if status.st_size == 0:
            raise ModelFileError(f"{self.path}: the file is empty")
        self.nbytes = status.st_size
        self._identity = _identity(status)
        try:
            mapped = mmap.mmap(self._fd, self.nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{self.path}: cannot map: {error}") from error
        advise_huge_pages(mapped)
        self.memory = memoryview(mapped)
        self.address = address_of(self.memory)

    @property
    def name(self) -> str:
        """The path, for messages."""
        return str(self.path)

    def fileno(self) -> int:
        """The open file's descriptor, valid as long as this object is."""
        return self._fd

    def read_at(self, offset: int, into: memoryview) -> int:
        """Fill `into` by an ordinary read at `offset`; return the number of bytes read.

        Raises:
            ModelFileError: the read failed.
        """
        try:
            return os.preadv(self._fd, [into], offset)
        except OSError as error:
            raise ModelFileError(f"{self.path}: cannot read: {error.strerror}") from error

    def check_unchanged(self) -> None:
        """Compare the open file's size and modification time with those at opening.

        A file replaced under the same name is not a change: the mapping keeps the old one.

        Raises:
            ModelFileError: the file was written to or cut short.
        """
        if _identity(os.fstat(self._fd)) != self._identity:
            raise ModelFileError(
                f"{self.path}: the file changed while in use; open the model again"
            )


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
