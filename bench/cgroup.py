"""A memory limit for other processes: a cgroup of our own, version 1 or 2."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

__all__ = ["CgroupError", "MemoryCgroup"]

_ROOT = Path("/sys/fs/cgroup")


class CgroupError(Exception):
    """A cgroup cannot be made here, and the message says why."""


class MemoryCgroup:
    """Processes that together may hold so many bytes; page cache that they fill counts.

    Args:
        limit: bytes.

    Raises:
        CgroupError: this system, or this user, may not make one.
    """

    def __init__(self, limit: int) -> None:
        v1 = _ROOT / "memory"
        parent = v1 if v1.is_dir() else _ROOT
        name = "memory.limit_in_bytes" if v1.is_dir() else "memory.max"
        self._folder = parent / f"llamacpp-bench-{os.getpid()}"
        try:
            self._folder.mkdir()
            (self._folder / name).write_text(str(limit), encoding="ascii")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._folder.rmdir()
            raise CgroupError(
                f"{self._folder}: {error.strerror}: a memory limit needs root, and the memory"
                " controller of cgroups"
            ) from error

    def add(self, pid: int) -> None:
        """Put a process in; what it holds already stays counted where it was."""
        (self._folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def __enter__(self) -> MemoryCgroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a process that has not ended yet
            self._folder.rmdir()
