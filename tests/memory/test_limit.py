"""Sizes in words, and what cgroup and machine leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamacpp.errors import InvalidArgumentError
from llamacpp.memory import limit, process
from llamacpp.memory.limit import memory_budget, parse_size

G = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [("6G", 6 * G), ("512M", 512 << 20), ("1.5 GiB", 3 * G // 2), (" 2 gb ", 2 * G), ("7", 7),
     ("64K", 65536), (12345, 12345)],
)  # fmt: skip
def test_sizes_in_words(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "six", "6X", "-1G", "G", "1e9", 0, -5, "0"])
def test_what_is_no_size_is_refused(text: int | str) -> None:
    with pytest.raises(InvalidArgumentError, match="size"):
        parse_size(text)


def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, membership: str, limits: dict[str, str]
) -> None:
    """A machine with 8 GiB to spare, and cgroups."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {8 << 20} kB\n")
    (tmp_path / "membership").write_text(membership)
    for name, text in limits.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    monkeypatch.setattr(process, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(limit, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(limit, "_CGROUP", tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("membership", "limits", "budget"),
    [
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{2 * G}\n"}, 2 * G),
        ("0::/a/b\n", {"a/b/memory.max": f"{G}\n", "a/memory.max": f"{2 * G}\n"}, G),
        ("5:memory:/job\n0::/\n", {"memory/job/memory.limit_in_bytes": f"{3 * G}\n"}, 3 * G),
        ("5:memory:/job\n", {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("4:cpu,cpuacct:/job\n", {"memory/job/memory.limit_in_bytes": f"{G}\n"}, None),
        ("0::/a\n", {"a/memory.max": f"{64 * G}\n"}, None),
    ],
)
def test_the_tightest_limit_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    membership: str,
    limits: dict[str, str],
    budget: int | None,
) -> None:
    machine(tmp_path, monkeypatch, membership, limits)
    found = memory_budget()
    assert found is not None
    if budget is None:  # the machine's own: 8 GiB, and what this process has
        assert 8 * G < found < 12 * G
    else:
        assert found == budget


def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(limit, "_MEMBERSHIP", tmp_path / "absent")
    assert memory_budget() is None
