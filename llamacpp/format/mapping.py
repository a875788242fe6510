"""Open a model file and map it: shared with every process, never copied, never written.

What depends on the operating system in opening files is here alone.
"""

from __future__ import annotations

import mmap
import os
import stat
import weakref
from collections.abc import Callable
from pathlib import Path

from llamacpp.errors import ModelFileError
from llamacpp.format.pages import address_of, advise_huge_pages, advise_no_neighbours

__all__ = ["DirectFile", "MappedFile"]

READ_STEP = 64 << 20  # bytes between two reports of progress

Progress = Callable[[int, int], object]


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

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        use_mmap: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """Open `path`, and map it.

        Args:
            path: the file.
            use_mmap: False: read it into private memory instead. For network file systems, and
                files that others write to.
            progress: called as ``progress(done, total)``, in bytes, while it is read; what it
                raises ends the reading.

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
        self.is_mapped = use_mmap
        try:
            mapped = (
                mmap.mmap(self._fd, self.nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
                if use_mmap
                else mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            )
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{self.path}: cannot map: {error}") from error
        self._mapped = mapped
        advise_huge_pages(mapped)
        self.memory = memoryview(mapped).toreadonly()
        self.address = address_of(self.memory)
        if not use_mmap:
            self._read_all(memoryview(mapped), progress)

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

    def _read_all(self, into: memoryview, progress: Progress | None) -> None:
        done = 0
        while done < self.nbytes:
            n = self.read_at(done, into[done : done + READ_STEP])
            if n == 0:
                raise ModelFileError(f"{self.path}: the file became shorter while it was read")
            done += n
            if progress is not None:
                progress(done, self.nbytes)

    def open_direct(self) -> DirectFile:
        """Open the same file, whatever its name stands for by now, to read past the page cache.

        Raises:
            ModelFileError: it cannot be opened again.
        """
        return DirectFile(self._fd, self.path)

    def read_exactly(self) -> None:
        """Let no page into memory that is not asked for, from now on."""
        advise_no_neighbours(self._mapped)

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


class DirectFile:
    """A file read into the caller's memory and not into the page cache, where that can be done."""

    def __init__(self, fd: int, path: Path) -> None:
        self._path = path
        self._is_cached = False
        same = f"/proc/self/fd/{fd}"
        try:
            self._fd = os.open(same, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECT", 0))
        except OSError:  # a file system without
            self._is_cached = True
            try:
                self._fd = os.dup(fd)
            except OSError as error:
                raise ModelFileError(f"{path}: cannot open again: {error.strerror}") from error
        weakref.finalize(self, os.close, self._fd)

    def read(self, offset: int, into: memoryview, needed: int) -> None:
        """Fill `into` from `offset` on, both whole pages; of the last page the file may lack some.

        Raises:
            ModelFileError: the read failed, or the file has fewer than `needed` bytes there.
        """
        got = 0
        while got < needed:
            try:
                n = os.preadv(self._fd, [into[got:]], offset + got)
            except OSError as error:
                raise ModelFileError(f"{self._path}: cannot read: {error.strerror}") from error
            if n == 0:
                raise ModelFileError(f"{self._path}: the file became shorter while in use")
            got += n
        if self._is_cached:
            os.posix_fadvise(self._fd, offset, len(into), os.POSIX_FADV_DONTNEED)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
