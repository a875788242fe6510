"""The one door to C: the compiled extension's ffi and lib, and status codes as exceptions."""

from __future__ import annotations

import os
from typing import Any

from llamacpp.errors import (
    FormatError,
    InvalidArgumentError,
    KernelError,
    LlamaError,
    ModelFileError,
    UnsupportedError,
)

try:
    import llamacpp._lk as _lk
except ImportError as error:  # a source tree that was never built
    raise ImportError(
        f"llamacpp's compiled core is missing ({error}); run 'pip install .' in the source tree"
    ) from error

__all__ = ["active_level", "available_levels", "check", "ffi", "lib", "set_bus_guard", "set_level"]

ffi: Any = _lk.ffi
lib: Any = _lk.lib

_ERRORS: dict[int, tuple[type[LlamaError], str]] = {
    lib.LK_ERR_ARGUMENT: (KernelError, "an argument is out of range"),
    lib.LK_ERR_MEMORY: (KernelError, "out of memory"),
    lib.LK_ERR_UNSUPPORTED: (UnsupportedError, "not supported on this machine"),
    lib.LK_ERR_TRUNCATED: (FormatError, "the data ends too early"),
    lib.LK_ERR_BUS: (ModelFileError, "the model file shrank or became unreadable while in use"),
}


def check(status: int, what: str) -> None:
    """Raise the exception that belongs to an ``lk_status``; `what` names the operation."""
    if status:
        kind, meaning = _ERRORS.get(status, (KernelError, f"unknown status {status}"))
        raise kind(f"{what}: {meaning}")


def _level_names() -> dict[str, int]:
    return {ffi.string(lib.lk_level_name(i)).decode(): i for i in range(lib.LK_N_LEVELS)}


def available_levels() -> list[str]:
    """Names of the instruction-set levels that this machine runs, lowest first."""
    return [name for name, level in _level_names().items() if lib.lk_level_available(level)]


def active_level() -> str:
    """Name of the level whose kernels are in use."""
    name: bytes = ffi.string(lib.lk_level_name(lib.lk_level_active()))
    return name.decode()


def set_level(name: str) -> None:
    """Use the kernels of one level from now on, in the whole process.

    Raises:
        InvalidArgumentError: there is no level of that name.
        UnsupportedError: this CPU or its operating system lacks it.
    """
    levels = _level_names()
    if name not in levels:
        raise InvalidArgumentError(f"no level named {name!r}; levels: {', '.join(levels)}")
    if not lib.lk_level_available(levels[name]):
        have = ", ".join(available_levels())
        raise UnsupportedError(f"this machine does not run level {name!r}; it runs: {have}")
    check(lib.lk_level_set(levels[name]), f"set level {name}")


def set_bus_guard(enabled: bool) -> None:
    """Choose whether a model file that shrinks or fails to read under the map is an error.

    Where a mapped page cannot be read the system sends SIGBUS, which ends a process. On, as it is
    at first, a handler turns one that arises inside an op into `ModelFileError`, and hands any
    other on to the handler that was there before. Off, that handler is put back; an application
    that has a use of its own for SIGBUS may want this. The environment variable
    ``LLAMACPP_BUS_GUARD=0`` does the same. It holds for the whole process.
    """
    lib.lk_bus_guard_set(bool(enabled))


if os.environ.get("LLAMACPP_BUS_GUARD") == "0":
    set_bus_guard(False)
if _forced := os.environ.get("LLAMACPP_ISA"):
    try:
        set_level(_forced)
    except LlamaError as error:
        raise type(error)(f"LLAMACPP_ISA: {error}") from None
