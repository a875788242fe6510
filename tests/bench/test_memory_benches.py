"""bench.load, bench.sharing and bench.out_of_core: what they print, refuse and compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bench import load, out_of_core, sharing
from bench.cgroup import CgroupError, MemoryCgroup
from bench.out_of_core import Result
from llamacpp import bundled_model

MODEL = str(bundled_model())
GB = 10**9


@pytest.fixture
def cgroups() -> None:
    """Whether cgroups can be made here; the tests that need one are skipped where not."""
    try:
        with MemoryCgroup(1 << 30):
            pass
    except CgroupError as error:
        pytest.skip(str(error))


def test_load_tells_of_opening_and_of_the_first_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copy(MODEL, tmp_path)  # it will be dropped from the page cache
    assert load.main(["-m", copy, "-r", "1", "--peer-python", "", "--cold", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    results = {result["what"]: result for result in printed["results"]}
    assert list(results) == ["open", "first token", "first token, cold"]
    assert 0 < results["open"]["ours"] < results["first token"]["ours"]
    assert results["open"]["peer"] is None
    assert results["first token, cold"]["disk"] > 0
    assert printed["machine"]["cpu"]


def test_load_of_no_model_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert load.main(["-m", "absent.gguf", "-r", "1", "--peer-python", ""]) == 2
    assert "absent.gguf" in capsys.readouterr().err


def test_sharing_counts_every_page_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert sharing.main(["-m", MODEL, "--processes", "3", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["engine"], result["processes"], result["error"]) == ("ours", 3, None)
    assert result["file_bytes"] == Path(MODEL).stat().st_size
    assert result["pss"] < 1.05 * result["file_bytes"] + 3 * (64 << 20)


@pytest.mark.parametrize("arguments", [["-m", "absent.gguf"], ["-m", MODEL, "--engines", "x"]])
def test_sharing_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert sharing.main(arguments) == 2
    assert capsys.readouterr().err.startswith("python -m bench.sharing: ")


def test_out_of_core_runs_under_a_limit(
    cgroups: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png = tmp_path / "limits.png"
    copy = shutil.copy(MODEL, tmp_path)
    command = ["-m", copy, "--limits", "512M", "-n", "2", "--engines", "ours", "-t", "1"]
    assert out_of_core.main([*command, "--png", str(png)]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| ours")
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", MODEL, "--limits", "much"], "is no size"),
        (["-m", MODEL, "--limits", "1G", "--engines", "theirs"], "no engine 'theirs'"),
        (["-m", "absent.gguf", "--limits", "1G"], "absent.gguf"),
    ],
)
def test_out_of_core_refuses(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert out_of_core.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_what_is_missing_is_what_the_limit_leaves_out() -> None:
    result = Result("ours", 2 * GB, 4 * GB, 1.0 * GB, 0.4, GB // 2)
    assert result.missing == 5 * GB // 2
    assert result.share == pytest.approx(1.0)
    assert Result("ours", 8 * GB, 4 * GB, 1.0 * GB, 9.0, 0).share is None
    assert Result("ours", 2 * GB, 4 * GB, 1.0 * GB, error="died: killed").share is None
