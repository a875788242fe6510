"""`python -m bench.compare` as a whole: on a real model, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import compare
from bench.results import Results
from llamacpp import bundled_model
from tests.bench.fakes import is_running

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODEL = bundled_model()
QUICK = ("-m", MODEL, "-t", "1", "-r", "2", "--pause", "0", "--patience", "0")
# What a shell runs in the background has Ctrl-C ignored, and so would the program under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def engine(adapter: str) -> tuple[str, str]:
    return "--engine", f"{adapter}={sys.executable}:{HERE / 'adapters.py'}:{adapter}"


@pytest.mark.parametrize("fresh", ["--fresh", "--no-fresh"])
def test_ours_is_compared_on_the_bundled_model(tmp_path: Path, capsys, fresh: str) -> None:
    out = tmp_path / "out"
    code = compare.main([
        *QUICK, "-p", "32", "-n", "4", "-d", "0,16", "-s", "1,2", "--engines", "ours,Quick",
        *engine("Quick"), "--levels", "scalar", "--out", str(out), fresh,
    ])  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said.err
    results = Results.load(out)
    assert results.complete
    assert list(results.engines) == ["ours", "Quick", "ours-scalar"]
    assert results.engines["ours-scalar"]["build"].startswith("level scalar ")
    assert [case.test.name for case in results.cases] == [
        "pp32", "tg4", "pp32 @ d16", "tg4 @ d16", "tg4 x2", "tg4 x2 @ d16",
    ]  # fmt: skip
    for case in results.cases:
        assert case.errors == {}
        assert [sorted(taken.seconds) for taken in case.rounds] == [sorted(results.engines)] * 2
    assert said.out == (out / "table.md").read_text()
    assert (results.models[0].page_cache is None) == (fresh == "--no-fresh")
    assert json.loads((out / "results.json").read_text())["machine"]["kernel"]


def test_engines_that_are_not_here_are_left_out(tmp_path: Path, capsys) -> None:
    code = compare.main([
        *QUICK, "-p", "0", "-n", "1", "--peer-python", "/nowhere/python", *engine("Quick"),
        "--engines", "peer,Quick,peer-norepack", "--out", str(tmp_path),
    ])  # fmt: skip
    said = capsys.readouterr()
    assert code == 0
    reason = "cannot start /nowhere/python: No such file or directory"
    assert f"left out: peer, peer-norepack: {reason}\n" in said.err
    assert f"- peer; peer-norepack: left out: {reason}\n" in said.out


def test_with_no_engine_there_is_nothing_to_compare(tmp_path: Path, capsys) -> None:
    code = compare.main([*QUICK, "--engines", "peer", "--peer-python", "/nowhere/python",
                         "--out", str(tmp_path)])  # fmt: skip
    assert code == 2
    assert "none of these engines is here" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys) -> None:
    (tmp_path / "file").touch()
    code = compare.main([*QUICK, "-p", "0", "-n", "1", "--engines", "Quick", *engine("Quick"),
                         "--out", str(tmp_path / "file")])  # fmt: skip
    assert code == 2
    assert "file" in capsys.readouterr().err


# ---- interrupted --------------------------------------------------------------------------------


def interrupt(
    tmp_path: Path, number: signal.Signals, *names: str
) -> subprocess.CompletedProcess[str]:
    """Compare until an engine is stuck, then send a signal to the group, as a terminal does."""
    pids, engines = tmp_path / "pids", [word for name in names for word in engine(name)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.compare", *QUICK, "-p", "8", "-n", "1", *engines,
         "--engines", ",".join(names), "--out", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "FAKE_PIDS": str(pids)}, start_new_session=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "pids.stuck").exists():
            time.sleep(0.01)
            assert process.poll() is None, process.communicate()
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) >= 2 * len(names)  # to tell what they are, and to be measured
    assert [pid for pid in started if is_running(pid)] == []
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_all_and_keeps_what_there_is(
    tmp_path: Path, number: signal.Signals
) -> None:
    done = interrupt(tmp_path, number, "Quick", "StuckInDecoding")
    assert done.returncode == 130, done.stderr
    assert "interrupted: what follows is part of the results" in done.stderr
    assert "Traceback" not in done.stderr
    results = Results.load(tmp_path)
    assert not results.complete
    first, second = results.cases
    assert [sorted(taken.seconds) for taken in first.rounds] == [["Quick", "StuckInDecoding"]] * 2
    assert [list(taken.seconds) for taken in second.rounds] == [["Quick"]]
    assert "**Partial: the run was interrupted.**" in done.stdout
    assert done.stdout == (tmp_path / "table.md").read_text()


def test_an_interruption_before_the_first_sample(tmp_path: Path) -> None:
    done = interrupt(tmp_path, signal.SIGINT, "StuckInOpening")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.endswith("interrupted before anything was measured\n")
    assert "Traceback" not in done.stderr
