"""`llamacpp memory`: words, JSON, pictures, errors, interruption."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from llamacpp import Model, __version__
from llamacpp.measure.work import weight_bytes_per_token
from llamacpp.memory.pages import PAGE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
ROOT = Path(__file__).resolve().parent.parent.parent


def test_memory_steps_and_a_picture(here) -> None:
    done = here("memory", "-n", 2, "-t", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert re.fullmatch(r".*stories\.gguf: 5\.2 MB in \d+ tensors", lines[0])
    words = [line.split("  ")[0] for line in lines[2 : lines.index("", 2)]]
    known = ["private", "shared", "proportional", "page cache", "page faults", "by design"]
    assert [word for word in words if word != "evicted"] == known  # which old kernels do not tell
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert rows[0] == [
        "step", "tokens", "minor faults", "major", f"x {PAGE:,} bytes", "of tensors",
    ]  # fmt: skip
    assert [row[0] for row in rows[2:]] == ["prompt", "token 1", "token 2"]
    assert lines[-1].startswith("▒ in memory   ")
    assert "   a character: " in lines[-1]


def test_a_trace_shows_that_all_is_read(here) -> None:
    done = here("memory", "-n", 1, "-t", 2, "--trace")
    text = done.stdout.decode()
    (row,) = (line for line in text.splitlines() if line.startswith("| token 1"))
    touched = float(row.strip("| ").split("|")[-1].strip(" %"))
    assert 50 < touched <= 100
    assert "more, all touched" in text
    assert "█ touched" in text


def test_the_width_is_the_terminals(run, talker) -> None:
    done = run("memory", "-m", talker, "-p", "the other", "--trace", COLUMNS="60")
    drawn = done.stdout.decode().split("\n\n")[-2]
    assert max(map(len, drawn.splitlines())) <= 60
    plain = run("memory", "-m", talker, "-p", "the other", PYTHONIOENCODING="ascii").stdout
    assert plain.isascii()
    assert b"= in memory" in plain


@pytest.mark.parametrize("trace", [[], ["--trace"]])
def test_json_is_complete_and_strict(here, talker, trace) -> None:
    done = here("memory", "-m", talker, "-p", "the other", "-n", 2, "-t", 1, "--json", *trace)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    found = json.loads(done.stdout, parse_constant=refuse)
    assert set(found) == {
        "model_filename", "page_bytes", "weight_bytes_per_token", "copied_weight_bytes", "memory",
        "steps", "tensors", "version",
    }  # fmt: skip
    with Model.open(talker) as model:
        assert found["weight_bytes_per_token"] == weight_bytes_per_token(model)
        infos = model.file.tensors
    assert (found["model_filename"], found["version"]) == (str(talker), __version__)
    assert (found["page_bytes"], found["copied_weight_bytes"]) == (PAGE, 0)
    assert found["memory"]["resident"] == found["memory"]["nbytes"]
    assert [step["name"] for step in found["steps"]] == ["prompt", "token 1", "token 2"]
    assert {t["name"]: (t["type"], t["nbytes"]) for t in found["tensors"]} == {
        name: (info.type.name, info.nbytes) for name, info in infos.items()
    }
    for i, step in enumerate(found["steps"]):
        if trace:
            assert step["touched_bytes"] == sum(t["touched_bytes"][i] for t in found["tensors"])
            assert step["touched_pages"] * PAGE >= step["touched_bytes"] > 0
        else:
            assert step["touched_bytes"] is step["touched_pages"] is None
            assert {t["touched_bytes"][i] for t in found["tensors"]} == {None}
    assert all(t["resident_bytes"] == t["nbytes"] for t in found["tensors"])


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_a_png(here, tmp_path) -> None:
    path = tmp_path / "pages.png"
    done = here("memory", "-n", 0, "-t", 1, "--png", path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert path.read_bytes().startswith(b"\x89PNG")
    done = here("memory", "-n", 0, "--png", tmp_path / "absent" / "pages.png")
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No such file or directory" in done.stderr


def test_a_png_needs_matplotlib(here, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("llamacpp.cli.memory.find_spec", lambda name: None)
    done = here("memory", "--png", tmp_path / "pages.png")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"llamacpp: --png needs matplotlib: pip install 'llamacpp[plot]'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "-1"], "-n/--n-predict: '-1': give a whole number from 0"),
        (["-m", "/absent.gguf"], "llamacpp: /absent.gguf: cannot open: No such file or directory"),
        (["-c", "3"], "do not fit into a context of 3"),
        (["-t", "0"], "n_threads must be 1..256, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(here, arguments, message) -> None:
    done = here("memory", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


INTERRUPTED = """
import os, signal, sys
from llamacpp.cli import main
from llamacpp.memory import Trace
touched = Trace.touched
def stop(trace):
    os.kill(os.getpid(), signal.SIGINT)
    return touched(trace)
Trace.touched = stop
sys.exit(main(["memory", "--trace"]))
"""


def test_an_interruption_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\n")
