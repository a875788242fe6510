"""The KV cache: keys and values of past positions, laid out so that attention streams them."""

from __future__ import annotations

import mmap
import sys
from typing import Any

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError, LlamaError, UnsupportedError

__all__ = ["CACHE_TYPES", "KVCache"]

CACHE_TYPES = {"f16": ops.F16, "f32": ops.F32, "q8_0": ops.Q8_0}
# Python 3.10 does not name it; Linux's value is the same on all architectures that we support.
_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class KVCache:
    """Keys and values of `n_seq` sequences of up to `n_ctx` positions, for all layers.

    One anonymous mapping holds, for each layer, K (n_seq, n_kv_head) and then V (n_seq, n_kv_head),
    each head with its positions side by side: values in rows, keys in transposed blocks of 16
    positions (``csrc/kernels.h`` has the layout). Memory is taken page by page as positions are
    filled, so a large `n_ctx` costs nothing up front.

    Raises:
        InvalidArgumentError: unknown `cache_type`.
        UnsupportedError: heads of this size cannot be kept in that type.
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
        if cache_type == "q8_0" and any(dim % 32 for dim in head_dims):
            raise UnsupportedError(
                f"a q8_0 KV cache needs heads of a multiple of 32, not {head_dims}; use f16"
            )
        self.type = CACHE_TYPES[cache_type]
        self.n_seq, self.n_kv_head, self.n_ctx = n_seq, n_kv_head, n_ctx
        self._head_dims = head_dims
        self._head_bytes = ops.cache_bytes(self.type, head_dims, n_ctx)  # of K, of V
        self._halves = [n_seq * n_kv_head * size for size in self._head_bytes]
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

    def used_bytes(self, n: int) -> int:
        """Bytes that the first `n` positions of one sequence take."""
        used = ops.cache_bytes(self.type, self._head_dims, n)
        return len(self.layers) * self.n_kv_head * sum(used)

    def slices(self, seq: int, n: int) -> list[memoryview]:
        """Views of the first `n` positions of one sequence: layer by layer, K then V, by head."""
        whole = memoryview(self._memory)
        used = ops.cache_bytes(self.type, self._head_dims, n)
        views = []
        for layer in range(len(self.layers)):
            at = layer * sum(self._halves)
            for half, size, taken in zip(self._halves, self._head_bytes, used, strict=True):
                for head in range(self.n_kv_head):
                    start = at + (seq * self.n_kv_head + head) * size
                    views.append(whole[start : start + taken])
                at += half
        return views
