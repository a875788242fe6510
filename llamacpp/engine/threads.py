"""How many threads to use: what affinity and cgroup quota leave of the physical cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["default_threads"]

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def default_threads() -> int:
    """Physical cores that this process may run on, no more than its cgroup's CPU quota."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return os.cpu_count() or 1
    cores = {_core(cpu) for cpu in allowed}
    return max(1, math.ceil(min(len(cores), _quota())))


def _core(cpu: int) -> tuple[str, str]:
    """Package and core of a logical CPU; siblings of one core share both."""
    topology = _CPUS / f"cpu{cpu}" / "topology"
    try:
        package = (topology / "physical_package_id").read_text().strip()
        return package, (topology / "core_id").read_text().strip()
    except OSError:
        return "", str(cpu)


def _quota() -> float:
    """CPUs granted by the tightest cgroup above this process; infinity without a limit."""
    quota = math.inf
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return quota
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUP / "cpu" if controllers else _CGROUP
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            quota = min(quota, _read_quota(folder, v2=not controllers))
            if folder == root:
                break
    return quota


def _read_quota(folder: Path, *, v2: bool) -> float:
    """``cpu.max`` (version 2) or ``cpu.cfs_*`` (version 1) of one cgroup, in CPUs."""
    try:
        if v2:
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return math.inf if limit in ("max", "-1") else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
