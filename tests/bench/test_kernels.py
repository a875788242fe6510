"""`python -m bench.kernels`: what it shows of a few kernels, and how it fails."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
from kernels.kernel_builds import build, native_compiler

from bench import kernels, machine
from llamacpp._native import available_levels

FEW = ["--ms", "1", "--kernel", "rope_half", "--kernel", "dot_q8_0"]
COLUMNS = [field.name for field in fields(kernels.Row)]


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build of the tests of kernels serves here too."""
    folder = build("checkasm", compiler=native_compiler()).parent
    monkeypatch.setattr(kernels, "BUILD", folder)


def test_figures_in_json(capsys) -> None:
    assert kernels.main([*FEW, "-o", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [COLUMNS] * len(rows)
    cases = [(row["slot"], row["level"]) for row in rows]
    assert set(cases) >= {("rope_half", "scalar"), ("dot_q8_0", "scalar")}
    assert {slot for slot, _ in cases} == {"rope_half", "dot_q8_0"}
    assert {level for _, level in cases} <= set(available_levels())
    for row in rows:
        is_dot = row["slot"] == "dot_q8_0"
        assert row["ns"] > 0
        assert row["gbps"] > 0
        assert (row["gops"] is not None) == is_dot
        assert row["limit"] in (["L2", "memory", "int8"] if is_dot else ["L1"])
        assert row["limit_share"] > 0
        assert (row["times_scalar"] == 1) == (row["level"] == "scalar")
        if is_dot:  # of 4096 weights in 128 blocks of 34 bytes
            assert row["gops"] / row["gbps"] == pytest.approx(2 * 4096 / (128 * 34))


def test_probes_bound_themselves(capsys) -> None:
    assert kernels.main(["--ms", "1", "--kernel", "probe_", "--level", "scalar", "-o", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == COLUMNS
    assert [row["limit"] for row in rows] == ["L1", "L2", "memory", "int8"]
    assert all(0 < float(row["limit_share"]) <= 1.0 + 1e-9 for row in rows)
    assert [row["gops"] == "" for row in rows] == [True, True, True, False]


def test_figures_in_a_table(capsys) -> None:
    levels = available_levels()[-1:]
    assert kernels.main([*FEW, "--level", *levels]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    about, _, header, _, *rows = said.out.splitlines()
    assert about == machine.summary(machine.describe())
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "kernel", "level", "case", "limit", "ns", "GB/s", "GOP/s", "x scalar", "of limit",
    ]  # fmt: skip
    assert {re.split(r" *\| *", row)[2] for row in rows} <= set(levels)


def test_kernels_that_there_are_not_are_told(capsys) -> None:
    assert kernels.main(["--ms", "1", "--kernel", "dot_q9"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "no kernel has 'dot_q9' in its name" in said.err


def test_a_failed_build_is_told(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setattr(kernels, "SOURCES", tmp_path)
    assert kernels.main(FEW) == 2
    assert "No targets specified and no makefile found" in capsys.readouterr().err


def test_a_failed_kernel_is_told(monkeypatch, capsys, tmp_path: Path) -> None:
    program = tmp_path / "checkasm"
    program.write_text("#!/bin/sh\necho FAIL dot_q8_0 scalar: touched address 0\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(kernels, "_build", lambda: program)
    assert kernels.main(FEW) == 2
    assert "FAIL dot_q8_0 scalar: touched" in capsys.readouterr().err


def test_an_interruption_is_quiet(monkeypatch, capsys) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", stop)
    assert kernels.main(FEW) == 130
    assert capsys.readouterr() == ("", "")
