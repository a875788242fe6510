"""Progress on standard error: lines that stay, and on a terminal one that is written over."""

from __future__ import annotations

import sys
import time
from typing import TextIO

__all__ = ["Progress"]


class Progress:
    """Tells what is being done, and how long the rest will take.

    Args:
        total: work to do, in any unit.
        stream: where to; standard error.
    """

    def __init__(self, total: float, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._total, self._done, self._begin = total, 0.0, time.monotonic()

    def advance(self, work: float) -> None:
        """Take note that so much work is done."""
        self._done += work

    def show(self, text: str) -> None:
        """Say what is being done now, on a terminal."""
        if self._live:
            print(f"\r\033[K{self._head()}{text}", end="", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Say something that stays."""
        print("\r\033[K" * self._live + text, file=self._stream, flush=True)

    def clear(self) -> None:
        """Take away the line that `show` wrote."""
        if self._live:
            print("\r\033[K", end="", file=self._stream, flush=True)

    def _head(self) -> str:
        if not self._done or not self._total:
            return ""
        seconds = (time.monotonic() - self._begin) * (self._total / self._done - 1)
        minutes, seconds = divmod(max(0, round(seconds)), 60)
        return f"[{min(self._done / self._total, 1):4.0%}, {minutes}:{seconds:02} left] "
