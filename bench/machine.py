"""What a measurement was taken on, as far as Linux tells; what it does not tell is left out."""

from __future__ import annotations

import json
import mmap
import os
import platform
import re
from pathlib import Path
from typing import Any

from llamacpp._native import active_level, available_levels
from llamacpp.engine.threads import default_threads
from llamacpp.measure.machine import cpu_model

__all__ = ["describe", "results_json", "summary"]

_CPU = Path("/sys/devices/system/cpu/cpu0")


def describe() -> dict[str, Any]:
    """Processor, kernel levels, caches, memory, kernel, page size, huge pages, governor."""
    found = {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cpus": os.cpu_count(),
        "cores_allowed": default_threads(),
        "virtual": "hypervisor" in _read("/proc/cpuinfo"),
        "level": active_level(),
        "levels": available_levels(),
        "caches": _caches(),
        "memory_bytes": _memory_bytes(),
        "kernel": f"{platform.system()} {platform.release()}",
        "page_bytes": mmap.PAGESIZE,
        "huge_pages": _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "governor": _read(_CPU / "cpufreq" / "scaling_governor"),
        "python": platform.python_version(),
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def summary(machine: dict[str, Any]) -> str:
    """The machine in a line."""
    parts = [f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cores_allowed', '?')} cores"]
    if machine.get("virtual"):
        parts[0] += " (virtual)"
    parts.append(f"level {machine.get('level', '?')}")
    parts += [f"{name} {size}" for name, size in machine.get("caches", {}).items() if name != "L1i"]
    if "memory_bytes" in machine:
        parts.append(f"{machine['memory_bytes'] / 1e9:.0f} GB")
    parts.append(machine.get("kernel", ""))
    return ", ".join(part for part in parts if part)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _caches() -> dict[str, str]:
    """Sizes of one core's caches, as the kernel writes them: {"L1d": "32K", ...}."""
    sizes = {}
    for index in sorted((_CPU / "cache").glob("index[0-9]*")):
        letter = {"Data": "d", "Instruction": "i"}.get(_read(index / "type"), "")
        sizes[f"L{_read(index / 'level')}{letter}"] = _read(index / "size")
    return sizes


def _memory_bytes() -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB$", _read("/proc/meminfo"), re.M)
    return int(found[1]) * 1024 if found else None


def _chosen(text: str) -> str:
    """The word in brackets, as in "always [madvise] never"."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else ""


def results_json(rows: list[dict[str, Any]]) -> str:
    """What was measured, and on which machine, as JSON."""
    return json.dumps({"machine": describe(), "results": rows}, indent=1) + "\n"
