"""A model file that goes away under the map: an error for who uses it, and for nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from random_models import write_random_model

from llamacpp import Model, ModelFileError, SamplingParams
from llamacpp.engine import Session
from llamacpp.format import GGMLType

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SIGBUS as Linux sends it")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_random_model(tmp_path / "model.gguf", GGMLType.Q4_0)


class Unchanging:
    """In place of a session's file: a change goes unnoticed until the pages are gone."""

    def check_unchanged(self) -> None:
        pass


def tokens_of(session: Session, n: int) -> list[int]:
    session.reset()
    return list(session.generate([1, 2, 3], max_tokens=n, params=SamplingParams(temperature=0.0)))


def test_another_thread_with_another_model_goes_on(path: Path, tmp_path: Path) -> None:
    other = write_random_model(tmp_path / "other.gguf", GGMLType.Q8_0)
    running, stop = threading.Event(), threading.Event()
    errors: list[BaseException] = []
    texts: list[list[int]] = []

    def lose(session: Session) -> None:
        try:
            while True:
                tokens_of(session, 20)
                running.set()
        except BaseException as error:
            errors.append(error)

    def keep(session: Session) -> None:
        while not stop.is_set():
            texts.append(tokens_of(session, 20))

    with Model.open(path) as losing, Model.open(other) as keeping:
        session = losing.session()
        session.file = Unchanging()  # type: ignore[assignment]
        want = tokens_of(keeping.session(), 20)
        threads = [
            threading.Thread(target=lose, args=(session,)),
            threading.Thread(target=keep, args=(keeping.session(),)),
        ]
        for thread in threads:
            thread.start()
        assert running.wait(60)
        os.truncate(path, 4096)
        threads[0].join(60)
        before = len(texts)
        while len(texts) < before + 2:  # the other one lives
            threads[1].join(0.01)
            assert threads[1].is_alive()
        stop.set()
        threads[1].join(60)
    (error,) = errors
    assert isinstance(error, ModelFileError)
    assert "shrank or became unreadable" in str(error)
    assert texts
    assert all(text == want for text in texts)


LOSE = """
import os, sys, llamacpp
model = llamacpp.Model.open(sys.argv[1])
session = model.session()
session.eval([1])
{extra}
session.file = type("Unchanging", (), {{"check_unchanged": lambda self: None}})()
os.truncate(sys.argv[1], 4096)
try:
    session.eval([2])
except llamacpp.ModelFileError:
    print("refused")
"""


def lose(path: Path, extra: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LOSE.format(extra=extra), str(path)],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=60,
    )  # fmt: skip


def test_it_can_be_switched_off_and_on(path: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        new = tmp_path / name
        new.write_bytes(path.read_bytes())
        return new

    assert lose(copy("a")).stdout == "refused\n"
    assert lose(copy("b"), "llamacpp.set_bus_guard(False)").returncode == -signal.SIGBUS
    assert lose(copy("c"), LLAMACPP_BUS_GUARD="0").returncode == -signal.SIGBUS
    off_and_on = "llamacpp.set_bus_guard(False); llamacpp.set_bus_guard(True)"
    assert lose(copy("d"), off_and_on).stdout == "refused\n"


def test_a_handler_of_the_interpreter_is_asked_and_comes_back(path: Path) -> None:
    code = """
import ctypes, os, signal, sys, llamacpp
got = []
signal.signal(signal.SIGBUS, lambda number, frame: got.append(number))
get = ctypes.CDLL(None).sigaction
def handler():
    now = ctypes.create_string_buffer(256)
    get(signal.SIGBUS, None, now)
    return now.raw[:8]
of_python = handler()
session = llamacpp.Model.open(sys.argv[1]).session()
session.eval([1])
assert handler() != of_python
os.kill(os.getpid(), signal.SIGBUS)  # is not ours
assert got == [signal.SIGBUS], got
llamacpp.set_bus_guard(False)
assert handler() == of_python
session.eval([1])
assert handler() == of_python
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
