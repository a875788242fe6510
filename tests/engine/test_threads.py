"""Thread counts from affinity and cgroups; the pool across forks and callers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp.engine import threads
from tests.random_models import write_random_model


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 logical CPUs on 4 cores, without limits."""
    cpus = tmp_path / "cpu"
    for cpu in range(8):
        topology = cpus / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{cpu % 4}\n")
    monkeypatch.setattr(threads, "_CPUS", cpus)
    monkeypatch.setattr(threads, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(threads, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


def limit(machine: Path, group: str, text: str, name: str = "cpu.max") -> None:
    folder = machine / "cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_siblings_of_a_core_count_once(machine: Path) -> None:
    assert threads.default_threads() == 4


def test_affinity_limits_the_threads(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {1, 2, 5})
    assert threads.default_threads() == 2


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 4)],
)
def test_a_cgroup_quota_limits_the_threads(machine: Path, quota: str, expected: int) -> None:
    (machine / "membership").write_text("0::/app/worker\n")
    limit(machine, "app/worker", "max 100000\n")
    limit(machine, "app", quota + "\n")
    assert threads.default_threads() == expected


def test_a_version_1_quota_limits_the_threads(machine: Path) -> None:
    (machine / "membership").write_text("3:cpuset:/\n2:cpu,cpuacct:/app\n")
    limit(machine, "cpu/app", "300000\n", "cpu.cfs_quota_us")
    limit(machine, "cpu/app", "100000\n", "cpu.cfs_period_us")
    assert threads.default_threads() == 3


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "100000 0"])
def test_a_quota_that_cannot_be_read_is_none(machine: Path, text: str) -> None:
    (machine / "membership").write_text("0::/\n")
    limit(machine, "", text)
    assert threads.default_threads() == 4


FORK = """
import os, sys
from llamacpp.engine import Model
model = Model.open(sys.argv[1], n_threads=3)
session = model.session()
want = session.eval(range(100))           # starts the workers
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        got = model.session().eval(range(100))
        os._exit(0 if (got == want).all() else 1)
    children.append(pid)
again = model.session().eval(range(100))  # the parent's workers are still there
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
sys.exit(any(codes) or not (again == want).all())
"""


def test_children_after_fork_start_their_own_workers(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.gguf", Type.Q4_0, n_ff=2048, n_embd=1024)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, str(path)], timeout=120, check=False
    )
    assert result.returncode == 0
