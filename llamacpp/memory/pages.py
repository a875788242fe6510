"""Pages of a model file: which of them the page cache holds, and what of a tensor lies on them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from llamacpp._native import check, ffi, lib
from llamacpp.format import ModelFile, TensorInfo
from llamacpp.format.mapping import MappedFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["PAGE", "BoolArray", "Pages", "count_pages", "evicted_bytes", "resident_pages"]

BoolArray: TypeAlias = "npt.NDArray[np.bool_]"
PAGE = mmap.PAGESIZE


def count_pages(nbytes: int) -> int:
    """Pages that so many bytes lie on, from the beginning of a page."""
    return -(-nbytes // PAGE)


class Pages:
    """Some of the pages of a model file.

    Attributes:
        parts: of each file of the model, for each of its pages whether it is one of them.
    """

    def __init__(self, parts: Sequence[BoolArray]) -> None:
        self.parts = tuple(parts)

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(int(part.sum()) for part in self.parts)

    def of(self, tensor: TensorInfo) -> BoolArray:
        """For each page that a tensor lies on, whether it is one of them.

        Tensors share the page on which one ends and the next begins.
        """
        last = (tensor.offset + tensor.nbytes - 1) // PAGE
        return self.parts[tensor.part][tensor.offset // PAGE : last + 1]

    def nbytes_of(self, tensor: TensorInfo) -> int:
        """Bytes of a tensor that lie on them; less than the pages have, where it shares one."""
        pages = self.of(tensor)
        before, end = tensor.offset % PAGE, tensor.offset + tensor.nbytes
        after = -end % PAGE
        total = int(pages.sum()) * PAGE
        return total - before * bool(pages[0]) - after * bool(pages[-1])

    def __or__(self, other: Pages) -> Pages:
        return Pages([a | b for a, b in zip(self.parts, other.parts, strict=True)])


def resident_pages(file: ModelFile) -> Pages | None:
    """The pages that the page cache holds; None where the system does not tell.

    Linux tells who owns a file or may write to it. Others would hear that all of it is there.
    """
    if not all(_is_told(part.mapping) for part in file.parts):
        return None
    return Pages([_resident(part.mapping) for part in file.parts])


def evicted_bytes(file: ModelFile) -> int | None:
    """Bytes that left the page cache so recently that more memory would have kept them.

    None where the system does not tell: before Linux 6.5, and of files of others.
    """
    total, pages = 0, ffi.new("uint64_t *")
    for part in file.parts:
        if lib.lk_file_evicted(part.mapping.fileno(), pages):
            return None
        total += int(pages[0]) * PAGE
    return total


def _is_told(mapping: MappedFile) -> bool:
    path = f"/proc/self/fd/{mapping.fileno()}"
    owner = os.fstat(mapping.fileno()).st_uid
    return os.geteuid() in (0, owner) or os.access(path, os.W_OK, effective_ids=True)


def _resident(mapping: MappedFile) -> BoolArray:
    import numpy as np

    found = np.empty(count_pages(mapping.nbytes), dtype=np.uint8)
    memory = ffi.cast("void *", mapping.address)
    status = lib.lk_pages_resident(memory, mapping.nbytes, ffi.from_buffer("uint8_t[]", found))
    check(status, f"{mapping.path}: look into the page cache")
    return found.view(np.bool_)
