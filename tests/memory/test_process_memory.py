"""What counts as private and what as shared, as Linux tells it."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from llamacpp.memory import process as memory

MiB = 1 << 20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@linux_only
def test_what_is_allocated_is_private_and_what_is_mapped_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 64 * MiB)
    before = memory.process_memory()
    assert before is not None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        assert mapping[:: mmap.PAGESIZE].count(b"x") == 64 * MiB // mmap.PAGESIZE
        mapped = memory.process_memory()
    assert mapped is not None
    assert mapped.shared - before.shared > 60 * MiB
    assert mapped.private - before.private < 8 * MiB
    held = bytearray(b"y" * 64 * MiB)
    grown = memory.process_memory()
    assert grown is not None
    assert grown.private - before.private > 60 * MiB
    assert grown.shared - before.shared < 8 * MiB
    assert len(held) == 64 * MiB


def test_the_numbers_are_those_of_the_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Name:\tcat\nVmRSS:\t  10 kB\nRssAnon:\t   3 kB\nRssFile:\t   5 kB\nRssShmem:\t   2 kB\n"
    )
    monkeypatch.setattr(memory, "_STATUS", status)
    assert memory.process_memory() == memory.Memory(private=3072, shared=7168)
    status.write_text("Name:\tcat\nVmRSS:\t  10 kB\n")  # a kernel before 4.5
    assert memory.process_memory() is None
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "absent")
    assert memory.process_memory() is None


def test_free_memory_is_what_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       100 kB\nMemFree:    1 kB\nMemAvailable:   50 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    assert memory.available_memory() == 51200
    meminfo.write_text("MemTotal:       100 kB\n")
    assert memory.available_memory() is None
