"""Weights that pass through the window are those of the file, however passes end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp.errors import ModelFileError
from llamacpp.format import ModelFile
from llamacpp.residency import Plan, Window, window
from llamacpp.residency.plan import PAGE
from llamacpp.tensors import Tensor, map_tensors
from tests.random_models import write_random_model


@pytest.fixture(params=[4096, 1 << 20])
def file(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelFile]:
    """A model, read in pieces of a page or as wholes."""
    monkeypatch.setattr(window, "PIECE", request.param)
    path = write_random_model(tmp_path / "model.gguf", Type.Q4_0, n_layer=3)
    with ModelFile(path) as opened:
        yield opened


def window_of(file: ModelFile, count: int) -> tuple[Window, list[Tensor]]:
    """A window for so many matrices, and these as they are mapped."""
    mapped = [t for t in map_tensors(file).values() if len(t.shape) == 2][:count]
    slot = max(-(-t.nbytes // PAGE) * PAGE + PAGE for t in mapped)
    total = sum(t.nbytes for t in mapped)
    return Window(Plan(tuple(mapped), 0, total, slot), file), mapped


def check_pass(window: Window, mapped: list[Tensor], step: int = 1) -> None:
    with window.sweep():
        for at in range(0, len(mapped), step):
            some = mapped[at : at + step]
            window.take(len(some))
            for tensor in some:
                assert window.tensors[tensor.name].data == tensor.data, tensor.name
            window.give_back(len(some))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 13, 20])
def test_every_pass_sees_the_bytes_of_the_file(file: ModelFile, count: int) -> None:
    passing, mapped = window_of(file, count)
    for _ in range(4):
        check_pass(passing, mapped)
    assert passing.read_bytes >= 4 * sum(t.nbytes for t in mapped)


@pytest.mark.parametrize("step", [2, 3, 4])
def test_several_at_once(file: ModelFile, step: int) -> None:
    passing, mapped = window_of(file, 12)
    for _ in range(3):
        check_pass(passing, mapped, step)


def test_a_pass_that_ends_early_leaves_the_next_one_whole(file: ModelFile) -> None:
    passing, mapped = window_of(file, 9)
    for stop in range(9):
        with pytest.raises(KeyError):
            end_early(passing, stop)
        check_pass(passing, mapped)


def end_early(passing: Window, stop: int) -> None:
    """A pass that fails with one tensor in use."""
    with passing.sweep():
        for _ in range(stop):
            passing.take(1)
            passing.give_back(1)
        passing.take(1)
        raise KeyError


def test_passes_of_two_threads_do_not_mix(file: ModelFile) -> None:
    passing, mapped = window_of(file, 7)
    threads = [
        threading.Thread(target=lambda: [check_pass(passing, mapped) for _ in range(5)])
        for _ in range(3)
    ]
    failures: list[object] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = hook
    assert failures == []


def test_a_fork_reads_for_itself(file: ModelFile) -> None:
    passing, mapped = window_of(file, 6)
    check_pass(passing, mapped)
    child = os.fork()
    if child == 0:
        try:
            check_pass(passing, mapped)
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    check_pass(passing, mapped)


def test_a_file_that_shrinks_is_an_error_of_the_pass(file: ModelFile) -> None:
    passing, mapped = window_of(file, 13)
    os.truncate(file.path, file.tensors[mapped[8].name].offset + 100)
    for _ in range(2):  # the next pass fails as well, and does not hang
        with pytest.raises(ModelFileError, match="became shorter"):
            check_pass(passing, mapped)


def test_threads_end_with_the_window(file: ModelFile) -> None:
    before = threading.active_count()
    passing, mapped = window_of(file, 5)
    check_pass(passing, mapped)
    readers = [t for t in threading.enumerate() if t.name == "llamacpp-reader"]
    assert len(readers) >= window.READERS
    del passing
    for thread in readers:
        thread.join(5)
    assert threading.active_count() <= before
