"""`llamacpp sparsity`: tables, JSON, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llamacpp import __version__

TEXT = "Once upon a time, in a small house, there lived a fox. The fox had a friend."


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_two_tables(here, text) -> None:
    done = here("sparsity", "-f", text, "-t", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].endswith("tokens, windows: 1")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if "|" in line]
    layers = [row for row in rows if row[0].isdigit()]
    assert [int(row[0]) for row in layers] == list(range(len(layers)))
    assert all(0 < float(cell.rstrip("%")) <= 100 for row in layers for cell in row[1:])
    assert [row[0] for row in rows if row[0].startswith("neurons")] == [
        f"neurons, {level}, {choice}"
        for level in ("90%", "99%")
        for choice in ("dynamic", "static", "random")
    ]


def test_json_has_all_of_it(here, text) -> None:
    done = here("sparsity", "-f", text, "-t", 1, "-n", 10, "-c", 4, "--json")
    found = json.loads(done.stdout)
    assert re.fullmatch(rb"of \d+ tokens, the first 10 are used\n", done.stderr)
    assert (found["n_tokens"], found["n_windows"]) == (10, 3)
    assert (found["model"], found["version"]) == ("stories.gguf", __version__)
    assert {e["choice"] for e in found["effects"]} == {"dynamic", "static", "random"}
    assert all(0 < row["dynamic"] <= 1 for row in found["layers"])


def test_standard_input(run) -> None:
    done = run("sparsity", "-f", "-", "-t", 1, text=TEXT.encode())
    assert done.returncode == 0
    assert b"| layer |" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-f", "absent.txt"], b"cannot read absent.txt"),
        (["-n", "1"], b"1 is not from 2"),
        (["-c", "100000"], b"the window must be from 2 to"),
        (["-m", "absent.gguf"], b"absent.gguf"),
        ([], b"2 are the least"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run, tmp_path, options, message) -> None:
    text = tmp_path / "text.txt"
    text.write_text("" if not options else TEXT, encoding="utf-8")
    if "-f" not in options:
        options = ["-f", text, *options]
    done = run("sparsity", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
