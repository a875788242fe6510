"""What is reported of a model that computes NaN. The reference is the same model undamaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from llamacpp.cli import main
from llamacpp.measure import verify
from tests.random_models import write_random_model

PROMPTS = [[3, 1, 4], [1, 5, 9, 2]]


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with one weight that is NaN, in the norm before the logits."""
    good = write_random_model(tmp_path / "good.gguf", Type.F32)
    reference = Model.open(good, n_threads=1)
    weights = bytes(reference.weights["output_norm.weight"].data)
    content = good.read_bytes()
    assert content.count(weights) == 1
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(content.replace(weights, np.float32(math.nan).tobytes() + weights[4:]))
    monkeypatch.setattr(verify, "_Reference", lambda folder: verify._Ours(reference, 64))
    return bad


def test_nan_is_beyond_every_bound(damaged: Path) -> None:
    with Model.open(damaged, n_threads=1) as model:
        found = verify.verify(model, "unused", PROMPTS, bound=math.inf)
    assert not found.holds
    assert [row.nmse for row in found.rows[:-1]] == [0.0] * (len(found.rows) - 1)
    assert math.isnan(found.rows[-1].max_error)
    assert math.isnan(found.rows[-1].nmse)
    assert math.isnan(found.kl)
    assert found.top1 == 0


def test_one_prompt_with_nan_is_seen_wherever_it_is() -> None:
    good, bad = np.ones((1, 2)), np.array([[1.0, np.nan]])
    for pairs in ([(good, good), (good, bad)], [(good, bad), (good, good)]):
        assert math.isnan(verify._row("logits", pairs).max_error)


def test_nan_is_reported_as_text_and_as_null(damaged: Path, capsys) -> None:
    arguments = ["verify", str(damaged), "--against", "unused", "-t", "1"]
    assert main(arguments) == 1
    text = capsys.readouterr().out
    assert "nan" in text
    assert "BEYOND the bound" in text
    assert main([*arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][-1] == {"name": "logits", "max_error": None, "nmse": None}
    assert (found["kl"], found["holds"]) == (None, False)
