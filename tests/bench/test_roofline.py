"""`python -m bench.roofline` and `python -m bench.profile`, on small models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import machine, profile, roofline, standard
from bench.disassembly import EXPECTED, Loop, NoDisassemblyError
from llamacpp import Model, bundled_model
from llamacpp._native import active_level, ffi, lib
from llamacpp.measure.speed import weight_bytes_per_token

MODEL = bundled_model()


@pytest.fixture
def standard_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `make bench` would have made is the bundled model."""
    monkeypatch.setenv("LLAMACPP_BENCH_DIR", str(tmp_path))
    path = tmp_path / "TinyLlama-1.1B-Q4_0.gguf"
    path.symlink_to(MODEL)
    return path


# ---- roofline -----------------------------------------------------------------------------------


def test_limits_are_shown_with_the_machine(standard_file: Path, capsys) -> None:
    assert roofline.main(["-t", "1,2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == machine.summary(machine.describe())
    assert lines[1].startswith(f"{standard_file}: 0.00")
    assert lines[3].split() == ["|", "threads", "|", "read", "GB/s", "|", "int8", "GOP/s", "|"]
    assert [line.split()[1] for line in lines[5:]] == ["1", "2"]


def test_limits_in_json(capsys) -> None:
    assert roofline.main(["-m", MODEL, "-t", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"] == machine.describe()
    with Model.open(MODEL) as model:
        assert found["weight_bytes"] == weight_bytes_per_token(model)
    (limits,) = found["limits"]
    assert (limits["n_threads"], limits["level"]) == (2, active_level())
    assert limits["read_bandwidth"] > 1e6
    assert limits["int8_peak"] > 1e6


def test_the_compiler_left_the_probe_alone(capsys) -> None:
    code = roofline.main(["--check"])
    said = capsys.readouterr().out
    if "objdump is not installed" in said:
        pytest.skip("objdump is not installed")
    slots = {ffi.string(lib.lk_kernel_name(i)).decode(): i for i in range(lib.lk_n_kernels())}
    levels = [level for level in range(lib.LK_N_LEVELS)
              if lib.lk_kernel_has(slots["probe_int8"], level)]  # fmt: skip
    assert code == 0, said
    assert len(said.splitlines()) == len(levels)
    assert said.count("all in registers") == len(levels) - 1


@pytest.mark.parametrize(("spilled", "code"), [(True, 1), (False, 2)])
def test_a_check_that_fails_is_told(monkeypatch, capsys, spilled: bool, code: int) -> None:
    def check(library: Path, level: str) -> Loop:
        if not spilled:
            raise NoDisassemblyError("it was stripped")
        return Loop([(name, "0x40(%rsp)") for name, n in EXPECTED[level].items() for _ in range(n)])

    monkeypatch.setattr(roofline, "check", check)
    assert roofline.main(["--check"]) == code
    said = capsys.readouterr().out
    assert ("memory is touched" if spilled else "not checked: it was stripped") in said


@pytest.mark.parametrize("command", [roofline, profile])
def test_a_file_that_is_not_there_is_told(capsys, command) -> None:
    assert command.main(["-m", "/absent.gguf"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "/absent.gguf: cannot open" in said.err


@pytest.mark.parametrize("command", [roofline, profile])
def test_an_interruption_is_quiet(monkeypatch, command) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(standard, "files", stop)
    assert command.main([]) == 130


@pytest.mark.parametrize("command", [roofline, profile])
def test_only_the_file_that_is_used_is_made(monkeypatch, tmp_path: Path, command) -> None:
    made = []
    monkeypatch.setenv("LLAMACPP_BENCH_DIR", str(tmp_path))
    monkeypatch.setattr(standard, "make_model", lambda path, *_, **__: made.append(path.name))
    assert command.main([]) == 2  # it is not there for all that
    assert made == ["TinyLlama-1.1B-Q4_0.gguf"]


# ---- profile ------------------------------------------------------------------------------------


def test_a_profile_is_shown(standard_file: Path, capsys) -> None:
    assert profile.main(["-t", "1", "-d", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("TinyLlama-1.1B-Q4_0.gguf, ")
    assert lines[2].startswith("tg32 @ d20, 1 thread: ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    assert rows[0] == ["op", "calls", "us per token", "share", "GB/s", "GOP/s"]
    assert [row[0] for row in rows[2:]] == [
        "embedding", "rope", "qkv", "attention", "attn_output", "gate_up", "down", "output",
        "python", "all",
    ]  # fmt: skip
    total = sum(float(row[2]) for row in rows[2:-1])
    assert total == pytest.approx(float(rows[-1][2]), abs=0.05 * len(rows))


@pytest.mark.parametrize(
    ("arguments", "test"),
    [
        (["-p", "16"], {"n_prompt": 16, "n_gen": 0, "n_depth": 0, "n_seq": 1}),
        (["-s", "3", "-d", "5"], {"n_prompt": 0, "n_gen": 32, "n_depth": 5, "n_seq": 3}),
    ],
)
def test_a_profile_in_json(capsys, arguments: list[str], test: dict[str, int]) -> None:
    assert profile.main(["-m", MODEL, "-t", "1", "--cache-type", "q8_0", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["test"], found["n_threads"]) == (MODEL, test, 1)
    assert found["machine"] == machine.describe()
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1.0)


def test_a_prompt_of_several_sequences_is_refused(capsys) -> None:
    assert profile.main(["-m", MODEL, "-p", "4", "-s", "2"]) == 2
    assert "a prompt is measured in one sequence" in capsys.readouterr().err
