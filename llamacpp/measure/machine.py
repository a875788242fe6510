"""The processor that a measurement was taken on, as far as the system tells."""

from __future__ import annotations

import platform
import re
from pathlib import Path

__all__ = ["cpu_model"]

_CPUINFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """The name that the processor has; on Arm, where it has none, its maker's and its numbers."""
    try:
        info = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""
    named = re.search(r"^(?:model name|Hardware|cpu model)\s*:\s*(.+)$", info, re.M)
    if named:
        return re.sub(r"\s+", " ", named[1]).strip()
    numbers = re.findall(r"^CPU (implementer|part)\s*:\s*(\S+)$", info, re.M)[:2]
    return " ".join(f"{name} {number}" for name, number in numbers) or platform.processor()
