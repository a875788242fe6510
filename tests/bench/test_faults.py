"""`python -m bench.faults`, on a small model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from bench import faults, page_cache
from llamacpp import bundled_model
from llamacpp.memory.pages import PAGE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(shutil.copy(bundled_model(), tmp_path / "model.gguf"))


def test_a_table_of_faults_beside_what_is_read(path: Path, capsys) -> None:
    assert faults.main(["-m", str(path), "-t", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1].startswith(f"{path}: 5.2 MB of tensors, 1 thread")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said if "|" in line]
    assert [row[0] for row in rows[2:]] == [name for name, *_ in faults.ROWS]
    assert said[-1].startswith("read by every token, exactly: ")


def test_the_same_in_json(path: Path, capsys) -> None:
    assert faults.main(["-m", str(path), "-t", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["page_bytes"] == PAGE
    assert [row["advice"] for row in found["rows"]] == [advise for *_, advise in faults.ROWS]
    assert all(row["first_minor"] > 0 for row in found["rows"])
    assert found["tensor_bytes"] / 2 < found["touched_bytes"] <= found["tensor_bytes"]
    assert found["touched_pages"] * PAGE > found["touched_bytes"]


def test_a_file_that_is_not_there_is_told(capsys) -> None:
    assert faults.main(["-m", "/absent.gguf"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "/absent.gguf: cannot open" in said.err


def test_an_interruption_is_quiet(path: Path, monkeypatch) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(faults, "ROWS", [("never", stop, False)])
    assert faults.main(["-m", str(path)]) == 130


def test_a_child_that_fails_is_told(path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(faults, "ROWS", [("gone", Path.unlink, False)])
    assert faults.main(["-m", str(path)]) == 2
    assert "counting faults failed: " in capsys.readouterr().err


def test_single_pages_come_back_with_the_same_bytes(path: Path) -> None:
    before = path.read_bytes()
    page_cache.read_small(path)
    assert path.read_bytes() == before
