"""`make bench`: its files, made once, and what it asks bench.compare for."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import standard
from llamacpp.format import ModelFile

SMALL = {"model": "SmolLM2-135M", "n_layer": 1}


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """The command lines that bench.compare gets."""
    lines: list[list[str]] = []
    monkeypatch.setattr(standard.compare, "main", lambda argv: lines.append(argv) or 0)
    return lines


def test_files_are_made_once(tmp_path: Path, capsys) -> None:
    paths = standard.files(tmp_path / "new", **SMALL)
    assert [path.name for path in paths] == [
        "SmolLM2-135M-Q4_0.gguf", "SmolLM2-135M-Q4_K_M.gguf", "SmolLM2-135M-Q8_0.gguf",
    ]  # fmt: skip
    assert capsys.readouterr().err.count("making ") == 3
    with ModelFile(paths[0]) as file:
        assert file.tensors["blk.0.attn_q.weight"].type.name == "Q4_0"
    before = [path.stat().st_mtime_ns for path in paths]
    assert standard.files(tmp_path / "new", **SMALL) == paths
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1,2"), (16, "1,2")])
def test_it_compares_them_with_the_threads_there_are(
    tmp_path: Path, monkeypatch, asked: list[list[str]], cores: int, threads: str
) -> None:
    monkeypatch.setenv("LLAMACPP_BENCH_DIR", str(tmp_path))
    monkeypatch.setattr(standard, "default_threads", lambda: cores)
    for kind in standard.TYPES:
        (tmp_path / f"TinyLlama-1.1B-{kind}.gguf").touch()
    assert standard.main(["-r", "1"]) == 0
    (line,) = asked
    paths = ",".join(f"{tmp_path}/TinyLlama-1.1B-{kind}.gguf" for kind in standard.TYPES)
    assert line[:6] == ["-p", "512", "-n", "64", "-t", threads]
    assert line[-4:] == ["-m", paths, "-r", "1"]


@pytest.mark.parametrize("option", [["-m", "x.gguf"], ["-mx.gguf"], ["--models=x.gguf"]])
def test_files_of_yours_are_taken_as_they_are(
    tmp_path: Path, monkeypatch, asked: list[list[str]], option: list[str]
) -> None:
    monkeypatch.setenv("LLAMACPP_BENCH_DIR", str(tmp_path / "untouched"))
    assert standard.main(option) == 0
    assert asked[0][-len(option) :] == option
    assert not (tmp_path / "untouched").exists()


def test_a_cache_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch, asked: list[list[str]], capsys
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMACPP_BENCH_DIR", str(tmp_path / "file" / "folder"))
    assert standard.main([]) == 2
    assert asked == []
    assert "python -m bench.standard: " in capsys.readouterr().err
