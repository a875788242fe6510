"""Memory mappings: where they are, and how their pages are asked for."""

from __future__ import annotations

import contextlib
import mmap

from llamacpp._native import ffi

__all__ = ["address_of", "advise_huge_pages"]


def address_of(data: memoryview) -> int:
    """Address of the first byte of `data` in this process, valid as long as `data` is."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(data)))


def advise_huge_pages(mapping: mmap.mmap) -> None:
    """Ask for huge pages where the system has them: a hint, without which all still works."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_HUGEPAGE)
