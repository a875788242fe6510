"""What other processes do meanwhile: processor time that went to none of ours."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

__all__ = ["OthersLoad"]

_IDLE = (3, 4)  # fields of /proc/stat: idle, and waiting for a disk
_STOLEN_LAST = 8  # its first eight fields; the rest is counted in user time already


class OthersLoad:
    """Measures from its making on. On a virtual machine, what its host took away counts too.

    Args:
        pids: our processes, besides this one.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = [os.getpid(), *pids]
        self._begin, self._before = time.monotonic(), self._others()

    def cores(self) -> float | None:
        """Processors' worth of time that others had; None where the system does not tell."""
        now, seconds = self._others(), time.monotonic() - self._begin
        if now is None or self._before is None or seconds <= 0:
            return None
        return max(0.0, (now - self._before) / os.sysconf("SC_CLK_TCK") / seconds)

    def _others(self) -> int | None:
        """Clock ticks in use on all processors, without ours."""
        try:
            line = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0]
            ours = sum(_ticks(pid) for pid in self._pids)
        except (OSError, ValueError, IndexError):
            return None
        fields = [int(word) for word in line.split()[1 : 1 + _STOLEN_LAST]]
        return sum(value for i, value in enumerate(fields) if i not in _IDLE) - ours


def _ticks(pid: int) -> int:
    """Clock ticks of a process, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
