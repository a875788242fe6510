"""The page cache, the machine and the progress: what surrounds a measurement."""

from __future__ import annotations

import io
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import machine, page_cache
from bench.others import OthersLoad, _ticks
from bench.page_cache import refresh
from bench.progress import Progress

MiB = 1 << 20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file"
    path.write_bytes(os.urandom(MiB) * 130 + b"tail")
    return path


@linux_only
def test_a_file_is_read_again_whole(file: Path) -> None:
    size, seen = file.stat().st_size, []
    found = refresh(file, lambda done, total: seen.append((done, total)))
    assert found["nbytes"] == size
    assert seen == [(64 * MiB, size), (128 * MiB, size), (size, size)]
    assert 0 <= found["huge_bytes"] <= size + 2 * MiB
    assert found["seconds"] > 0


@linux_only
def test_a_file_is_dropped_before_it_is_read(file: Path, monkeypatch) -> None:
    dropped = []
    monkeypatch.setattr(page_cache, "_touch", lambda mapping, start, length: None)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *what: dropped.append(what))
    refresh(file)
    assert dropped == [(0, 0, os.POSIX_FADV_DONTNEED)]


@linux_only
def test_an_older_kernel_reads_page_by_page(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(page_cache, "_MADV_POPULATE_READ", 12345)
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        with pytest.raises(OSError, match="Invalid argument"):
            mapping.madvise(12345)
        page_cache._touch(mapping, 0, len(mapping))
    assert refresh(file)["nbytes"] == file.stat().st_size


def test_what_does_not_fit_into_memory_is_left_alone(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(page_cache, "_available", lambda: file.stat().st_size)
    monkeypatch.setattr(page_cache, "_touch", lambda *_: pytest.fail("it was read"))
    assert refresh(file) == {"skipped": "the file is larger than the memory that is free"}


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        refresh(tmp_path / "nothing")


# ---- other programs -----------------------------------------------------------------------------

SPIN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@linux_only
def test_what_others_compute_is_noticed_and_what_we_do_is_not() -> None:
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            begin, before = time.monotonic(), _ticks(process.pid)
            theirs, ours = OthersLoad([]), OthersLoad([process.pid])
            while _ticks(process.pid) < before + 20:  # however busy the machine is
                time.sleep(0.01)
            with_it, without_it = theirs.cores(), ours.cores()
            seconds = time.monotonic() - begin
        finally:
            process.kill()
    assert with_it is not None
    assert without_it is not None
    assert (with_it - without_it) * seconds * os.sysconf("SC_CLK_TCK") > 10


def test_a_system_that_does_not_tell_is_believed() -> None:
    assert OthersLoad([2**30]).cores() is None  # nor is there such a process


# ---- machine ------------------------------------------------------------------------------------


def test_the_machine_is_described() -> None:
    found = machine.describe()
    assert {"cpu", "architecture", "cpus", "cores_allowed", "level", "levels", "kernel",
            "page_bytes", "python"} <= found.keys()  # fmt: skip
    assert found["level"] in found["levels"]
    assert found["page_bytes"] == mmap.PAGESIZE
    assert None not in found.values()
    assert "" not in found.values()
    assert found["cpu"] in machine.summary(found)


def test_caches_are_those_of_one_core(tmp_path: Path, monkeypatch) -> None:
    for i, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "1024K")]
    ):
        folder = tmp_path / "cache" / f"index{i}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    monkeypatch.setattr(machine, "_CPU", tmp_path)
    assert machine._caches() == {"L1d": "48K", "L1i": "32K", "L2": "1024K"}


def test_a_summary_does_without_what_is_not_known() -> None:
    assert machine.summary({}) == "unknown CPU, ? cores, level ?"
    told = {"cpu": "X", "cores_allowed": 4, "virtual": True, "level": "neon"}
    assert machine.summary(told) == "X, 4 cores (virtual), level neon"


# ---- progress -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_line_written_over(monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("bench.progress.time.monotonic", lambda: now[0])
    stream = Terminal()
    progress = Progress(4.0, stream)
    progress.show("first")
    now[0] += 30
    progress.advance(1.0)
    progress.show("second")
    progress.say("a line")
    progress.clear()
    assert stream.getvalue() == (
        "\r\033[Kfirst\r\033[K[ 25%, 1:30 left] second\r\033[Ka line\n\r\033[K"
    )


def test_a_file_gets_the_lines_that_stay() -> None:
    stream = io.StringIO()
    progress = Progress(4.0, stream)
    progress.show("first")
    progress.say("a line")
    progress.clear()
    assert stream.getvalue() == "a line\n"
