"""Put a file into the page cache as a long-running machine would hold it: in large pages.

A file that was just written lies in the cache in small pieces, as the writes came. Every engine
that maps it is slower for that, those that copy the weights less so. Dropped and read again through
a mapping that asks for huge pages, it lies there in pieces of 2 MiB, where the file system can;
every process that maps the file afterwards uses those.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["drop", "huge_bytes", "read_small", "refresh"]

_STEP = 64 << 20  # bytes read between two reports of progress
_MADV_POPULATE_READ = 22  # Linux 5.14; Python does not name it before 3.14


def refresh(
    path: Path, progress: Callable[[int, int], object] = lambda done, total: None
) -> dict[str, Any]:
    """Drop a file from the page cache and read it again.

    Args:
        path: the file. What other processes map of it stays where it is.
        progress: called as ``progress(done, total)``, in bytes.

    Returns:
        "nbytes" in the cache now, "huge_bytes" of them in huge pages (None if the system does not
        tell), "seconds" that it took; or "skipped" and why.

    Raises:
        OSError: the file cannot be read.
    """
    nbytes = path.stat().st_size
    if nbytes > _available() * 0.8:
        return {"skipped": "the file is larger than the memory that is free"}
    begin = time.perf_counter()
    drop(path)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), nbytes, mmap.MAP_SHARED, mmap.PROT_READ) as mapping,
    ):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            mapping.madvise(mmap.MADV_HUGEPAGE)
        for start in range(0, nbytes, _STEP):
            _touch(mapping, start, min(_STEP, nbytes - start))
            progress(min(start + _STEP, nbytes), nbytes)
        huge = huge_bytes(path)
    return {"nbytes": nbytes, "huge_bytes": huge, "seconds": time.perf_counter() - begin}


def drop(path: Path) -> None:
    """Drop a file from the page cache. What other processes map of it stays where it is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is not on disk cannot be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_small(path: Path) -> None:
    """Drop a file and read it into the page cache as single pages, as all file systems once did.

    Read-ahead, which makes larger pieces, is off where random access is announced.
    """
    drop(path)
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


def _touch(mapping: mmap.mmap, start: int, length: int) -> None:
    try:
        mapping.madvise(_MADV_POPULATE_READ, start, length)
    except OSError:  # an older kernel: a byte of each page
        _ = mapping[start : start + length : mmap.PAGESIZE]


def _available() -> float:
    """Bytes that can be had without swapping; infinity where the system does not tell."""
    with contextlib.suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        if found := re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.M):
            return int(found[1]) * 1024
    return float("inf")


def huge_bytes(path: Path) -> int | None:
    """Bytes of this process's mappings of a file that are huge pages."""
    try:
        lines = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    total, mine, name = 0, False, str(path.resolve())
    for line in lines:
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            mine = line.endswith(name)
        elif mine and line.startswith("FilePmdMapped:"):
            total += int(line.split()[1]) * 1024
    return total
