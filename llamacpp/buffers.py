"""Memory that ops work on: float32 buffers with fixed addresses, scratch, arrays of integers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from numpy.typing import ArrayLike

__all__ = ["MAX_THREADS", "Buffer", "Float32Array", "Integers", "Work", "int32"]

Float32Array: TypeAlias = "npt.NDArray[np.float32]"
Integers: TypeAlias = "Sequence[int] | npt.NDArray[np.integer]"

MAX_THREADS = 256

_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class Buffer:
    """Float32 memory (rows, columns) with a fixed address, `ptr`; holds anything at first.

    NumPy takes a tenth of a second to import on a slow machine, and a first token can be had
    without: so it is imported by who asks for `array`.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.shape = (rows, columns)
        self.ptr = _allocate("float[]", rows * columns)

    @cached_property
    def array(self) -> Float32Array:
        """The same memory, for NumPy."""
        import numpy as np

        return np.frombuffer(ffi.buffer(self.ptr), dtype=np.float32).reshape(self.shape)

    @classmethod
    def of(cls, row: Buffer | ArrayLike, columns: int | None = None, what: str = "x") -> Buffer:
        """Values (columns,) as one row: in place, if they lie as float32 without gaps.

        Raises:
            InvalidArgumentError: `what` they are, by name, has another shape.
        """
        if isinstance(row, Buffer) and row.shape == (1, columns or row.shape[1]):
            return row
        import numpy as np

        row = np.asarray(row.array if isinstance(row, Buffer) else row)
        if row.shape != (len(row) if columns is None and row.ndim else columns,):
            wanted = "(n,)" if columns is None else (columns,)
            raise InvalidArgumentError(f"{what} have shape {row.shape}; {wanted} is expected")
        row = np.ascontiguousarray(row, dtype=np.float32)
        self = cls.__new__(cls)
        self.shape = (1, len(row))
        self.ptr = ffi.from_buffer("float[]", row)
        self.array = row.reshape(1, -1)
        return self

    def row(self, index: int) -> Any:
        """``float *`` to a row."""
        return self.ptr + index * self.shape[1]

    def copy(self, row: int) -> Buffer:
        """One row, in memory of its own."""
        other = Buffer(1, self.shape[1])
        ffi.memmove(other.ptr, self.row(row), 4 * self.shape[1])
        return other


class Work:
    """Scratch memory and thread count for the ops of one caller; grows to what they ask for."""

    def __init__(self, n_threads: int) -> None:
        if not 1 <= n_threads <= MAX_THREADS:
            raise InvalidArgumentError(f"n_threads must be 1..{MAX_THREADS}, not {n_threads}")
        self.n_threads = n_threads
        self.struct = ffi.new("lk_work *", {"n_threads": n_threads})
        self._memory: Any = None

    def reserve(self, n_bytes: int) -> None:
        """Make the scratch at least `n_bytes` large."""
        if n_bytes > self.struct.scratch_bytes:
            self._memory = _allocate("char[]", n_bytes + 64)
            aligned = (int(ffi.cast("uintptr_t", self._memory)) + 63) // 64 * 64
            self.struct.scratch = ffi.cast("void *", aligned)
            self.struct.scratch_bytes = n_bytes


def int32(name: str, values: Iterable[int]) -> array[int]:
    """Integers as C takes them.

    Raises:
        InvalidArgumentError: `values` are no flat sequence of integers, or not of 32 bits.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()  # NumPy's integers one by one are slow
    try:
        if isinstance(values, (bytes, bytearray, str)):
            raise TypeError
        return array("i", values)
    except TypeError:
        raise InvalidArgumentError(f"{name} must be a flat sequence of integers") from None
    except OverflowError:
        raise InvalidArgumentError(f"{name} must fit into 32 bits") from None
