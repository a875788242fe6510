"""Memory of this process, as Linux counts it.

Linux calls a page private that one process maps, even if it belongs to a file: the weights of a
model that one process has open would be private memory. Here private is what no other process can
share and what is lost with this one; shared are pages of files, whether or not another process maps
them at the moment, for the next one that opens the model finds them there.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Faults",
    "Memory",
    "available_memory",
    "page_faults",
    "process_memory",
    "proportional_memory",
]

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")
_MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Memory:
    """Bytes of a process that are in memory.

    Attributes:
        private: anonymous (RssAnon): KV cache, scratch, the interpreter.
        shared: pages of files (RssFile), the weights among them, and of shared memory (RssShmem).
    """

    private: int
    shared: int


@dataclass(frozen=True)
class Faults:
    """Page faults: of memory that was there (minor), or that a disk had to deliver (major)."""

    minor: int
    major: int

    def __sub__(self, other: Faults) -> Faults:
        return Faults(self.minor - other.minor, self.major - other.major)


def process_memory() -> Memory | None:
    """What this process holds now; None where the system does not tell."""
    sizes = _sizes(_STATUS)
    try:
        return Memory(sizes["RssAnon"], sizes["RssFile"] + sizes["RssShmem"])
    except KeyError:
        return None


def proportional_memory() -> int | None:
    """Bytes that this process holds, each page divided by the processes that map it (Pss).

    None where the system does not tell. Linux looks at every mapped page to tell.
    """
    return _sizes(_ROLLUP).get("Pss")


def page_faults() -> Faults:
    """The faults of this process since it began, of all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Faults(usage.ru_minflt, usage.ru_majflt)


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    return _sizes(_MEMINFO).get("MemAvailable")


def _sizes(path: Path) -> dict[str, int]:
    """The lines `Name:  123 kB` of a file, in bytes; none if it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    split = [line.split() for line in lines]
    return {
        words[0].rstrip(":"): int(words[1]) * 1024
        for words in split
        if len(words) == 3 and words[2] == "kB"
    }
