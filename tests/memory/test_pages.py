"""Pages and the bytes on them; what the page cache holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from llamacpp import Model
from llamacpp.format import GGMLType, ModelFile, TensorInfo
from llamacpp.memory import Pages, pages, resident_pages
from llamacpp.memory.pages import PAGE, count_pages, evicted_bytes
from tests.memory.conftest import Run


def tensor(offset: int, nbytes: int, part: int = 0) -> TensorInfo:
    return TensorInfo("t", GGMLType.F32, (nbytes // 4,), offset, nbytes, part)


@pytest.mark.parametrize(
    ("offset", "nbytes", "chosen", "expected"),
    [
        (0, 2 * PAGE, [1, 1, 0, 0], 2 * PAGE),
        (0, 2 * PAGE, [0, 1, 1, 1], PAGE),
        (32, 64, [1, 0, 0, 0], 64),
        (32, 64, [0, 1, 1, 1], 0),
        (PAGE - 32, 64, [1, 0, 0, 0], 32),
        (PAGE - 32, 64, [0, 1, 0, 0], 32),
        (PAGE - 32, PAGE + 64, [1, 1, 1, 0], PAGE + 64),
        (PAGE - 32, PAGE + 64, [1, 0, 1, 0], 64),
        (PAGE - 32, PAGE + 36, [0, 0, 1, 0], 4),
        (3 * PAGE, 4, [1, 1, 1, 0], 0),
    ],
)
def test_bytes_of_a_tensor_on_pages(
    offset: int, nbytes: int, chosen: list[int], expected: int
) -> None:
    nothing = np.zeros(4, dtype=bool)
    some = Pages([nothing, np.array(chosen, dtype=bool)])
    assert some.nbytes_of(tensor(offset, nbytes, part=1)) == expected
    assert some.nbytes_of(tensor(offset, nbytes)) == 0
    assert some.count == sum(chosen)


def test_pages_of_both() -> None:
    a = Pages([np.array([True, False, False])])
    b = Pages([np.array([False, False, True])])
    assert (a | b).parts[0].tolist() == [True, False, True]


def test_a_page_that_is_begun_is_a_page() -> None:
    assert [count_pages(n) for n in (0, 1, PAGE, PAGE + 1)] == [0, 1, 1, 2]


# ---- the page cache -----------------------------------------------------------------------------

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_what_was_read_is_there_and_what_was_dropped_is_not(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    with ModelFile(copy) as file:
        everything = resident_pages(file)
        assert everything is not None
        assert everything.count == count_pages(file.nbytes)
    with copy.open("rb") as raw:
        os.fsync(raw.fileno())
        os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with ModelFile(copy) as file:
        rest = resident_pages(file)
        assert rest is not None
        if rest.count == everything.count:
            pytest.skip("this file system keeps its files in memory")
        assert rest.count < everything.count / 2  # the header was read, and some way ahead
        evicted = evicted_bytes(file)
        assert evicted is None or evicted >= 0


OTHERS = """
import os, sys
from llamacpp.format import ModelFile
from llamacpp.memory import memory_report, resident_pages
file = ModelFile(sys.argv[1])
os.setuid(65534)
print(resident_pages(file), memory_report(file).resident)
print(memory_report(file))
"""


def test_of_files_of_others_nothing_is_claimed(path: Path, run: Run) -> None:
    if os.geteuid():
        pytest.skip("needs root, to become someone else")
    done = run(OTHERS, path)
    assert done.stdout.splitlines()[0] == "None None", done.stderr
    assert "page cache    not told to this user, of " in done.stdout


def test_an_old_kernel_does_not_tell_of_evictions(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "lib", type("Old", (), {"lk_file_evicted": lambda *_: 3}))
    assert evicted_bytes(model.file) is None
