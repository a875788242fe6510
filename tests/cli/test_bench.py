"""`llamacpp bench`: rows, formats, errors, interruption."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from llamacpp import __version__, buffers, bundled_model
from llamacpp._native import active_level, available_levels
from llamacpp.cli import bench, build_parser
from llamacpp.measure.benchmark import Result
from llamacpp.measure.report import FORMATS

ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = ("-p", 8, "-n", 2, "-r", 1, "-t", 1, "--no-limits")


def test_a_table_of_the_bundled_model(here) -> None:
    done = here("bench", "-p", 16, "-n", 4, "-r", 2, "-t", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    assert rows[0] == [
        "model", "size", "type", "threads", "level", "test", "t/s", "GB/s", "of read", "GOP/s",
        "of int8", "private MB", "shared MB",
    ]  # fmt: skip
    assert len({len(line) for line in lines[:4]}) == 1
    assert [row[:6] for row in rows[2:]] == [
        ["stories", "5.2 MB", "Q8_0", "1", active_level(), test] for test in ("pp16", "tg4")
    ]
    assert [row.count("–") for row in rows[2:]] == [2, 2]
    assert lines[5].startswith(f"llamacpp {__version__}, ")
    assert lines[6].startswith("limits, 1 thread: ")


def test_every_combination_is_a_row(here, talker) -> None:
    done = here(
        "bench", "-m", talker, "-p", "8,4", "-n", "2", "-d", "0,16", "-s", "1,3", "-t", "1,2",
        "-r", 2, "--no-limits", "--cache-type", "f32", "-o", "json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    one = ["pp8", "pp4", "tg2", "tg2 x3"]
    tests = [*one, *(f"{name} @ d16" for name in one)]
    assert [(row["n_threads"], row["test"]) for row in found] == [
        (n, test) for n in (1, 2) for test in tests
    ]
    for row in found:
        assert set(row) == {*(f.name for f in fields(Result)), "version"}
        assert len(row["samples_ts"]) == 2
        assert min(row["samples_ts"]) <= row["avg_ts"] <= max(row["samples_ts"])
        assert (row["model_filename"], row["cache_type"]) == (str(talker), "f32")
        assert row["version"] == __version__
        assert row["read_gbps"] is row["int8_share"] is None


def test_csv_has_the_fields_of_json(here) -> None:
    as_json = json.loads(here("bench", *QUICK, "-o", "json").stdout)
    done = here("bench", *QUICK, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["test"] for row in rows] == ["pp8", "tg2"]
    assert list(rows[0]) == list(as_json[0])
    assert float(rows[0]["samples_ts"]) == float(rows[0]["avg_ts"]) > 0


def test_what_is_asked_for_twice_is_run_once(here) -> None:
    done = here("bench", *QUICK, "-p", "0", "-n", "2,2", "-d", "0,0", "-t", "1,1", "-o", "csv")
    assert len(done.stdout.splitlines()) == 2


def test_the_level_can_be_forced(run) -> None:
    level = available_levels()[0]
    done = run("bench", *QUICK, "-o", "json", LLAMACPP_ISA=level)
    assert {row["level"] for row in json.loads(done.stdout)} == {level}


def test_threads_are_the_librarys_unless_given(here, monkeypatch) -> None:
    monkeypatch.setattr("llamacpp.engine.model.default_threads", lambda: 3)
    done = here("bench", "-p", 0, "-n", 1, "-r", 1, "--no-limits", "-o", "json")
    assert json.loads(done.stdout)[0]["n_threads"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "0", "-n", "0"], "llamacpp: there is nothing to run: give -p or -n a number above"),
        (["-p", "-5"], "-p/--n-prompt: '-5': give a whole number from 0, or several as in 1,2"),
        (["-n", ","], "-n/--n-gen: ',': give a whole number from 0, or several as in 1,2"),
        (["-d", "1.5"], "-d/--n-depth: '1.5': give a whole number from 0"),
        (["-s", "0"], "-s/--sequences: 0 is not from 1 to "),
        (["-t", "0"], "-t/--threads: 0 is not from 1 to 256"),
        (["-t", "1,257"], "-t/--threads: 257 is not from 1 to 256"),
        (["-r", "0"], "-r/--repetitions: 0 is not from 1 to "),
        (["-r", "1,2"], "-r/--repetitions: '1,2': give one number"),
        (["-p", "²"], "'²': give a whole number"),
        (["-o", "xml"], "-o/--output: invalid choice: 'xml'"),
        (["--cache-type", "q4_0"], "--cache-type: invalid choice: 'q4_0'"),
        (["-m", "/absent.gguf"], "llamacpp: /absent.gguf: cannot open: No such file or directory"),
        (["-d", "2147483647"], "of memory are free: ask for fewer tokens, less depth, or another"),
        (["-p", "2147483648"], "2147483648 is not from 0 to 2147483647"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(here, arguments, message) -> None:
    done = here("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    error = done.stderr.decode()
    assert message in error
    assert error.count("\n") == 1


def test_a_cache_type_that_the_model_cannot_have(here, tmp_path) -> None:
    from gguf import GGMLQuantizationType as Type

    from tests.random_models import write_random_model

    path = write_random_model(tmp_path / "m.gguf", Type.F32, head_dim=16)
    done = here("bench", "-m", path, *QUICK, "--cache-type", "q8_0")
    assert done.returncode == 2
    assert done.stderr == (
        b"llamacpp: a q8_0 KV cache needs heads of a multiple of 32, not (16, 16); use f16\n"
    )


def test_options_say_what_the_library_can() -> None:
    assert bench.MAX_THREADS == buffers.MAX_THREADS
    (parsers,) = (a for a in build_parser()._actions if hasattr(a, "choices") and a.choices)
    (output,) = (a for a in parsers.choices["bench"]._actions if a.dest == "output")
    assert set(output.choices) == set(FORMATS)


# ---- interrupted --------------------------------------------------------------------------------

# Stops in the second test: the first is complete.
INTERRUPTED = """
import os, signal, sys
from llamacpp.cli import main
from llamacpp.measure import speed
step = speed.step
def stop(session, tokens, pos):
    step(session, tokens, pos)
    os.kill(os.getpid(), signal.SIGINT)
speed.step = stop
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("output", ["md", "json", "csv"])
def test_an_interruption_keeps_the_rows_that_are_complete(output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "bench", *map(str, QUICK), "-o", output],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "\n"
    assert "pp8" in done.stdout
    assert "tg2" not in done.stdout
    if output == "json":
        assert [row["test"] for row in json.loads(done.stdout)] == ["pp8"]


def test_an_interruption_before_the_first_row_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "bench", *map(str, QUICK), "-p", "0"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\n")


def test_a_terminal_sees_what_is_done_and_then_the_table_alone() -> None:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llamacpp", "bench", *map(str, QUICK), "-m", bundled_model()],
        stdout=subprocess.PIPE, stderr=side, cwd=ROOT,
    )  # fmt: skip
    os.close(side)
    out, _ = process.communicate(timeout=60)
    said = os.read(main, 1 << 16).decode()
    os.close(main)
    assert process.returncode == 0
    assert "\r\033[K1 thread: pp8: run 1 of 1" in said
    assert said.endswith("\r\033[K")
    assert "\n" not in said
    assert b"run 1" not in out
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
