"""The command line of bench.compare: what it asks for, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gguf_bytes import U16, entry, gguf, tensor

from bench import options
from bench.comparison import Plan
from bench.options import UsageError, build_parser, build_plan
from bench.results import Test
from llamacpp import bundled_model

MODEL = bundled_model()


def plan(*arguments: str) -> Plan:
    return build_plan(build_parser().parse_args(["-m", MODEL, *arguments]))


def test_by_default_a_prompt_and_decoding_on_all_engines() -> None:
    made = plan()
    assert made.tests == [Test(n_prompt=512), Test(n_gen=64)]
    assert [spec.name for spec in made.specs] == ["ours", "peer", "peer-norepack"]
    assert made.probe == made.specs[0]
    assert (made.settings.rounds, made.settings.fresh) == (5, True)
    assert len(made.n_threads) == 1


def test_tests_are_all_combinations_each_once() -> None:
    made = plan("-p", "8,16", "-n", "4", "-d", "0,32", "-s", "1,2,2")
    names = ["pp8", "pp16", "tg4", "tg4 x2"]
    assert [test.name for test in made.tests] == names + [f"{name} @ d32" for name in names]


def test_zero_is_none_of_them() -> None:
    assert plan("-p", "0", "-n", "8").tests == [Test(n_gen=8)]
    assert plan("-p", "8", "-n", "0").tests == [Test(n_prompt=8)]
    with pytest.raises(UsageError, match="nothing to run"):
        plan("-p", "0", "-n", "0")


def test_curves_add_what_is_not_there() -> None:
    made = plan("--curve", "prompt", "--curve", "depth")
    names = [test.name for test in made.tests]
    assert names == [
        "pp512", "tg64", "pp1", "pp8", "pp32", "pp128", "pp2048",
        "tg64 @ d512", "tg64 @ d1024", "tg64 @ d2048", "tg64 @ d4096",
    ]  # fmt: skip


def test_a_curve_alone() -> None:
    made = plan("-p", "0", "-n", "0", "--curve", "depth")
    assert [test.n_gen for test in made.tests] == [64] * 5


def test_levels_are_engines_of_their_own() -> None:
    *_, last = plan("--engines", "ours", "--levels", "scalar").specs
    assert (last.name, last.environment) == ("ours-scalar", {"LLAMACPP_ISA": "scalar"})


def test_the_peer_has_its_interpreter(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    python = {spec.name: spec.command[0] for spec in plan("--peer-python", "venv/python").specs}
    assert python["ours"] == sys.executable
    assert python["peer"] == python["peer-norepack"] == str(tmp_path / "venv" / "python")
    monkeypatch.setenv("LLAMACPP_PEER_PYTHON", "/peer/python")
    assert plan().specs[1].command[0] == "/peer/python"
    monkeypatch.setenv("LLAMACPP_PEER_PYTHON", "")
    assert plan().specs[1].command[0] == sys.executable


def test_engines_can_be_added(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan("--engine", "mine=python3:a/b.py:Mine", "--engines", "mine,ours")
    first = made.specs[0]
    assert [spec.name for spec in made.specs] == ["mine", "ours"]
    assert first.command == ("python3", "-m", "bench.engines", f"{tmp_path}/a/b.py:Mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engines", "theirs"], "no engine 'theirs'; engines: ours, peer, peer-norepack"),
        (["--engine", "peer=p:f:C"], "there is an engine peer already"),
        (["-m", "/nowhere.gguf"], "/nowhere.gguf: there is no such file"),
        (["-m", f"{MODEL},{MODEL}"], "is named twice"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "8,x"], "'8,x': give a whole number from 0, or several as in 1,2"),
        (["-t", "0"], "0 is not from 1 to 2147483647"),
        (["-s", "-1"], "'-1': give a whole number from 1"),
        (["-r", "1,2"], "'1,2': give one number"),
        (["--pause", "nan"], "'nan' is no number of seconds"),
        (["--timeout", "soon"], "'soon' is no number of seconds"),
        (["--engines", "a b"], "names of letters"),
        (["--engine", "x=y:z"], "'x=y:z' is not NAME=PYTHON:FILE:CLASS"),
        (["--level", "avx2"], "unrecognized arguments"),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        plan(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_can_be_shown(capsys) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    assert "--peer-python" in capsys.readouterr().out


def test_plots_need_matplotlib(monkeypatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--plots needs matplotlib: pip install"):
        plan("--plots")


def test_models_are_described(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.gguf").symlink_to(MODEL)
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not GGUF")
    paths = [tmp_path / "a" / "x.gguf", tmp_path / "b" / "x.gguf", other]
    made = plan("-m", ",".join(map(str, paths)))
    assert [model.label for model in made.models] == ["a/x", "b/x", "other"]
    assert made.models[0].nbytes == Path(MODEL).stat().st_size
    assert sum(made.models[0].types.values()) <= made.models[0].nbytes
    assert (made.models[2].nbytes, made.models[2].types) == (8, {})
    assert made.files["other"] == [other]


def test_a_model_in_parts_is_one_model(tmp_path: Path) -> None:
    paths = [tmp_path / f"x-0000{i}-of-00002.gguf" for i in (1, 2)]
    for i, path in enumerate(paths):
        keys = {"split.no": i, "split.count": 2, "split.tensors.count": 2}
        entries = [entry(key, U16, value) for key, value in keys.items()]
        path.write_bytes(gguf(entries, [tensor(f"t{i}", [4])], bytes(16)))
    made = plan("-m", str(paths[1]))
    assert [model.label for model in made.models] == ["x"]
    assert made.files["x"] == paths
    assert made.models[0].nbytes == sum(path.stat().st_size for path in paths)


def test_results_get_a_folder_of_their_own(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(options, "HERE", tmp_path)
    first = plan().folder
    assert first.parent == tmp_path / "results"
    assert first.name.endswith("-stories")
    first.mkdir(parents=True)
    assert plan().folder.name == first.name + "-2"
    assert plan("--out", "x").folder == Path("x")
