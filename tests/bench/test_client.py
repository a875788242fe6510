"""A process under test is answered for, whatever it does, and does not outlive its use."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.engines.client import Engine, EngineError, EngineSpec
from tests.bench.fakes import fake, is_running


def script(text: str) -> EngineSpec:
    return EngineSpec("e", (sys.executable, "-u", "-c", text))


def failure(spec: EngineSpec, timeout: float = 20.0) -> EngineError:
    with Engine(spec, timeout) as engine, pytest.raises(EngineError) as caught:
        engine.ask("about")
    return caught.value


def test_an_answer_is_what_was_said(tmp_path: Path) -> None:
    with Engine(fake("a", tmp_path / "log"), 20.0) as engine:
        assert engine.ask("about")["name"] == "a"
        assert engine.ask("work") == {"weight_bytes": 1e7, "operations": 2e7}


def test_an_answer_may_come_in_pieces() -> None:
    spec = script(
        "import sys, time\n"
        "for piece in ('{\"a\"', ': 1}\\n{\"b\"', ': 2}\\n'):\n"
        "    sys.stdout.write(piece); sys.stdout.flush(); time.sleep(0.05)\n"
        "sys.stdin.read()"
    )
    with Engine(spec, 20.0) as engine:
        assert engine.ask("x") == {"a": 1}
        assert engine.ask("x") == {"b": 2}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit(7)", "exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("input(); print('hello')", "it answered about with b'hello' instead of JSON"),
        ("input(); print('[1]')", "it answered about with b'[1]' instead of JSON"),
        ("import os, time; input(); os.close(1); time.sleep(60)", "it closed its standard output"),
        ("input(); print('x' * (2 << 20))", "its answer does not end"),
    ],
)
def test_what_breaks_the_protocol_has_died(text: str, reason: str) -> None:
    error = failure(script(text))
    assert (error.engine, error.kind, error.reason) == ("e", "died", reason)


def test_who_takes_too_long_is_ended() -> None:
    begin = time.monotonic()
    error = failure(script("import time; time.sleep(60)"), timeout=0.3)
    assert (error.kind, error.reason) == ("died", "no answer in 0.3 s")
    assert time.monotonic() - begin < 30


def test_the_end_of_its_standard_error_is_kept() -> None:
    error = failure(script("import sys\nfor i in range(1000): print(i, file=sys.stderr)"))
    assert error.log.splitlines() == [str(i) for i in range(992, 1000)]


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ('{"type": "RefusedError", "message": "no"}', "refused", "no"),
        ('{"type": "ValueError", "message": "bad"}', "refused", "ValueError: bad"),
        ('{"type": "MissingEngineError", "message": "get it"}', "missing", "get it"),
        ("3", "refused", "None: None"),
    ],
)
def test_an_error_is_an_answer(answer: str, kind: str, reason: str) -> None:
    error = failure(script(f"input(); print('{{\"error\": {answer}}}'); input()"))
    assert (error.kind, error.reason) == (kind, reason)


def test_an_interpreter_that_is_not_there_is_missing() -> None:
    with pytest.raises(EngineError, match="cannot start /nowhere: No such file") as caught:
        Engine(EngineSpec("e", ("/nowhere",)), 1.0)
    assert caught.value.kind == "missing"


@pytest.mark.parametrize("ignore", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN);"])
def test_closing_ends_the_process(ignore: str, monkeypatch) -> None:
    monkeypatch.setattr("bench.engines.client.GRACE", 0.2)
    spec = script(
        f"import os, signal, time; {ignore} input(); "
        "print('{\"pid\": %d}' % os.getpid()); time.sleep(600)"
    )
    with Engine(spec, 20.0) as engine:
        pid = engine.ask("x")["pid"]
        assert is_running(pid)
    assert not is_running(pid)


def test_a_ctrl_c_on_the_terminal_is_not_for_the_engine(tmp_path: Path) -> None:
    with Engine(fake("a", tmp_path / "log"), 20.0) as engine:
        assert os.getsid(engine.pid) == engine.pid != os.getsid(0)


def test_the_environment_is_passed_on() -> None:
    spec = EngineSpec("e", (sys.executable, "-c", "import os; input(); print(os.environ['A'])"),
                      {"A": '{"a": 5}'})  # fmt: skip
    with Engine(spec, 20.0) as engine:
        assert engine.ask("x") == {"a": 5}
