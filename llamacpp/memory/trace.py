"""Which pages of a model are touched, exactly: those that anyone reads while a trace is on."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from llamacpp._native import check, ffi, lib
from llamacpp.errors import LlamaError, UnsupportedError
from llamacpp.format import ModelFile
from llamacpp.memory.pages import Pages, count_pages

__all__ = ["Trace"]


class Trace:
    """Notes which pages of an open model are touched, by whatever thread, while it is entered.

    Access to the mapped file is revoked; the first touch of a page faults, is noted, and opens
    that page alone (csrc/trace.c). Results stay the same, the first touches take microseconds.
    Prefetches do not fault, so what is prefetched and never read does not count.

        with Trace(model.file) as trace:
            session.eval(prompt)
            print(trace.touched().count)
            trace.reset()
            session.eval([token])
            print(trace.touched().count)

    Begin whenever you like; reset, and end, while no session of the model evaluates anything.

    Args:
        file: an open model file.

    Raises:
        LlamaError: on entering: the model is being traced already, or there is no memory for it.
        UnsupportedError: on entering: the system has no way to do it.
    """

    def __init__(self, file: ModelFile) -> None:
        self._path = file.path
        self._mappings = [part.mapping for part in file.parts]  # kept alive as long as traced
        self._trace: Any = ffi.NULL

    def __enter__(self) -> Trace:
        spans = [(ffi.cast("void *", m.address), m.nbytes) for m in self._mappings]
        out = ffi.new("lk_trace **")
        status = lib.lk_trace_start(ffi.new("lk_span[]", spans), len(spans), out)
        if status == lib.LK_ERR_ARGUMENT:
            raise LlamaError(f"{self._path}: is being traced already, or was closed")
        if status == lib.LK_ERR_UNSUPPORTED:
            raise UnsupportedError("tracing page touches needs Linux")
        check(status, f"{self._path}: trace page touches")
        self._trace = out[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lib.lk_trace_end(self._trace)
        self._trace = ffi.NULL

    def touched(self) -> Pages:
        """The pages touched since the beginning, or the last `reset`.

        Raises:
            LlamaError: they lie so scattered that the system could not keep them apart.
        """
        import numpy as np

        counts = [count_pages(mapping.nbytes) for mapping in self._mappings]
        found = np.empty(sum(counts), dtype=np.uint8)
        if lib.lk_trace_read(self._trace, ffi.from_buffer("uint8_t[]", found)):
            raise LlamaError(
                f"{self._path}: the touched pages lie in more pieces than the system keeps apart; "
                "raise vm.max_map_count, or touch less between two resets"
            )
        return Pages(np.split(found.view(np.bool_), np.cumsum(counts)[:-1]))

    def reset(self) -> None:
        """Begin anew: every page counts again at its next touch."""
        check(lib.lk_trace_reset(self._trace), f"{self._path}: trace page touches")
