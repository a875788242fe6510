"""`python -m bench.accuracy`, on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import accuracy
from llamacpp import bundled_model
from llamacpp.quantize import MIXES
from tests.small_models import write_talker

TEXT = "the other day " * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talker(tmp_path_factory.mktemp("accuracy") / "talker.gguf")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_row_for_every_mix(model: Path, text: Path, capsys) -> None:
    arguments = ["-m", str(model), "-f", str(text), "-c", "16", "-t", "1"]
    assert accuracy.main(arguments) == 0
    said = capsys.readouterr().out
    assert said.startswith("perplexity of the model itself: ")
    names = [line.strip("| ").split()[0] for line in said.splitlines() if line.startswith("|")]
    assert set(names[2:]) == set(MIXES)
    assert accuracy.main([*arguments, "--json"]) == 0
    rows = {row["mix"]: row for row in json.loads(capsys.readouterr().out)}
    exact = rows["F32"]["found"]["divergence"]
    assert (rows["F32"]["bits_per_weight"], exact["kl"], exact["same_top"]) == (32, 0, 1)
    kl = {mix: row["found"]["divergence"]["kl"] for mix, row in rows.items()}
    assert 0 < kl["F16"] < kl["Q8_0"] < kl["Q4_0"]


def test_what_cannot_be_measured_is_told(model: Path, text: Path, capsys) -> None:
    for arguments, message in (
        (["-m", "/absent.gguf", "-f", str(text)], "/absent.gguf: cannot open"),
        (["-m", str(model), "-f", str(text)], "two windows of 256 are the least"),
        (["-m", str(bundled_model()), "-f", str(text), "-c", "16"], "is Q8_0 already"),
    ):
        assert accuracy.main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert message in said.err


def test_an_interruption_is_quiet(model: Path, text: Path, monkeypatch) -> None:
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(accuracy, "quantize_model", stop)
    assert accuracy.main(["-m", str(model), "-f", str(text), "-c", "16"]) == 130
