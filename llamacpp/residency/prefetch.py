"""Fetching mapped weights into memory in the order of use, beside the work that uses them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence

from llamacpp._native import check, ffi, lib
from llamacpp.residency.plan import PAGE
from llamacpp.tensors import Tensor

__all__ = ["Prefetch", "are_resident", "fetch"]

STEP = 16 << 20  # bytes: enough for the disk to show its rate, few enough to end soon


class Prefetch:
    """A thread that brings the pages of some tensors into memory, once.

    Args:
        tensors: where they are mapped, in the order of use.
        lock: whether the system is asked not to drop the pages again. That it may refuse.
    """

    def __init__(self, tensors: Sequence[Tensor], *, lock: bool = False) -> None:
        self._ended = threading.Event()
        threading.Thread(
            target=_try_to_fetch, args=(list(tensors), lock, self._ended), daemon=True
        ).start()
        weakref.finalize(self, self._ended.set)


def are_resident(tensors: Sequence[Tensor]) -> bool:
    """Whether a page of each is in the page cache; then a thread would only be in the way."""
    told = ffi.new("uint8_t[1]")
    for tensor in tensors:
        middle = (tensor.address + tensor.nbytes // 2) // PAGE * PAGE
        if lib.lk_pages_resident(ffi.cast("void *", middle), 1, told) or not told[0]:
            return False
    return True


def fetch(tensors: Sequence[Tensor]) -> None:
    """Bring them into memory here and now.

    Raises:
        ModelFileError: the file is too short, or cannot be read.
    """
    for tensor in tensors:
        check(_fetch_step(tensor, 0, tensor.nbytes, lock=False), f"fetch {tensor.name}")


def _try_to_fetch(tensors: list[Tensor], lock: bool, ended: threading.Event) -> None:
    """A page that cannot be fetched is left to whoever needs it, and gets an error."""
    for tensor in tensors:
        for at in range(0, tensor.nbytes, STEP):
            if ended.is_set():
                return
            status = _fetch_step(tensor, at, min(STEP, tensor.nbytes - at), lock=lock)
            if status == lib.LK_ERR_MEMORY and lock:
                lock = False  # no more than the system allows
            elif status:
                return


def _fetch_step(tensor: Tensor, at: int, n: int, *, lock: bool) -> int:
    call = lib.lk_pages_lock if lock else lib.lk_pages_fetch
    status: int = call(ffi.cast("void *", tensor.address + at), n)
    return status
