"""How much memory there is: a size that the user gives, or what cgroup and machine leave."""

from __future__ import annotations

import re
from pathlib import Path

from llamacpp.errors import InvalidArgumentError
from llamacpp.memory.process import available_memory, process_memory

__all__ = ["memory_budget", "parse_size"]

_MEMBERSHIP = Path("/proc/self/cgroup")
_CGROUP = Path("/sys/fs/cgroup")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?\s*", re.IGNORECASE)
_UNLIMITED = 1 << 60  # version 1 says "no limit" by a number beyond this


def parse_size(value: int | str) -> int:
    """Bytes of a size: a number, or text such as "6G", "512M" or "1.5 GiB" (powers of 1024).

    Raises:
        InvalidArgumentError: it is no size, or not above zero.
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise InvalidArgumentError(f"{value!r} is no size; write bytes, or such as '6G'")
        size = int(float(match[1]) * _UNITS[match[2].upper()])
    else:
        size = value
    if size <= 0:
        raise InvalidArgumentError(f"a size must be above zero, not {value!r}")
    return size


def memory_budget() -> int | None:
    """Bytes that this process may hold in all: those it has and those still free to it.

    The smaller of what the cgroups above it (version 1 or 2) allow and what the machine has left;
    memory that is only cache counts as free. None where the system does not tell.
    """
    limits = [limit for limit in (_cgroup_budget(), _machine_budget()) if limit is not None]
    return min(limits, default=None)


def _machine_budget() -> int | None:
    free, held = available_memory(), process_memory()
    return None if free is None else free + (held.private if held else 0)


def _cgroup_budget() -> int | None:
    """The least that any cgroup above this process leaves it."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    budgets = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUP / "memory" if controllers else _CGROUP
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            budgets.append(_limit(folder, "memory.max" if not controllers else _V1_LIMIT))
            if folder == root:
                break
    return min((budget for budget in budgets if budget is not None), default=None)


_V1_LIMIT = "memory.limit_in_bytes"


def _limit(folder: Path, name: str) -> int | None:
    try:
        text = (folder / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED else None
