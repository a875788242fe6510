"""Memory mappings: where they are, and how their pages are asked for."""

from __future__ import annotations

import contextlib
import mmap

from llamacpp._native import ffi

__all__ = ["address_of", "advise_huge_pages", "advise_no_neighbours"]


def address_of(data: memoryview) -> int:
    """Address of the first byte of `data` in this process, valid as long as `data` is."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(data)))


def advise_no_neighbours(mapping: mmap.mmap) -> None:
    """Ask that a page that is missing be read alone: what lies beside it is not wanted."""
    for advice in ("MADV_NOHUGEPAGE", "MADV_RANDOM"):
        if hasattr(mmap, advice):
            with contextlib.suppress(OSError):
                mapping.madvise(getattr(mmap, advice))


def advise_huge_pages(mapping: mmap.mmap) -> None:
    """Ask for huge pages where the system has them: a hint, without which all still works."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
