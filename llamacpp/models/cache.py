"""The KV cache: keys and values of past positions, laid out so that attention streams them."""

from __future__ import annotations

import mmap
import sys
from typing import Any

from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError, LlamaError
from llamacpp.ops import F16, F32

__all__ = ["CACHE_TYPES", "KVCache"]

CACHE_TYPES = {"f16": F16, "f32": F32}
_ELEMENT_BYTES = {F16: 2, F32: 4}
# Python 3.10 does not name it; Linux's value is the same on all architectures that we support.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class KVCache:
    """Keys and values of `n_seq` sequences of up to `n_ctx` positions, for all layers.

    One anonymous mapping holds, for each layer, K (n_seq, n_kv_head, n_ctx, head_dim_k) and then
    V (n_seq, n_kv_head, n_ctx, head_dim_v): the positions of a head lie side by side. Memory is
    taken page by page as positions are filled, so a large `n_ctx` costs nothing up front.

    Raises:
        InvalidArgumentError: unknown `cache_type`.
        LlamaError: the address space for the cache cannot be had.
    """

    def __init__(
        self,
        *,
        n_layer: int,
        n_seq: int,
        n_kv_head: int,
        n_ctx: int,
        head_dims: tuple[int, int],
        cache_type: str = "f16",
    ) -> None:
        if cache_type not in CACHE_TYPES:
            raise InvalidArgumentError(
                f"unknown KV cache type {cache_type!r}; types: {', '.join(CACHE_TYPES)}"
            )
        self.type = CACHE_TYPES[cache_type]
        self.n_seq, self.n_kv_head, self.n_ctx = n_seq, n_kv_head, n_ctx
        element = _ELEMENT_BYTES[self.type]
        self._row_bytes = tuple(element * dim for dim in head_dims)
        self._halves = [n_seq * n_kv_head * n_ctx * row for row in self._row_bytes]
        self.nbytes = n_layer * sum(self._halves)
        try:
            self._memory = mmap.mmap(
                -1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
            )
        except (OSError, ValueError, OverflowError) as error:
            raise LlamaError(
                f"cannot reserve {self.nbytes / 2**30:.1f} GiB for a KV cache of {n_ctx} positions"
                f" ({error}); ask for a smaller n_ctx"
            ) from error
        self._view = ffi.from_buffer(self._memory)
        base = int(ffi.cast("uintptr_t", self._view))
        self.layers: list[tuple[Any, Any]] = []
        for layer in range(n_layer):
            k = base + layer * sum(self._halves)
            self.layers.append((ffi.cast("void *", k), ffi.cast("void *", k + self._halves[0])))

    def slices(self, seq: int, n: int) -> list[memoryview]:
        """Views of the first `n` positions of one sequence: layer by layer, K then V, by head."""
        whole = memoryview(self._memory)
        views = []
        for layer in range(len(self.layers)):
            at = layer * sum(self._halves)
            for half, row in zip(self._halves, self._row_bytes, strict=True):
                for head in range(self.n_kv_head):
                    start = at + (seq * self.n_kv_head + head) * self.n_ctx * row
                    views.append(whole[start : start + n * row])
                at += half
        return views
