"""Models of known shapes, with random weights: they open, and hold what their shape says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import make_model
from bench.shapes import SHAPES
from llamacpp import Model
from llamacpp.measure.speed import operations_per_token

SMALLER = {"n_embd": 256, "n_ff": 512, "n_head": 4, "n_kv_head": 2, "n_vocab": 400}


@pytest.mark.parametrize("mix", ["Q4_0", "Q4_K_M"])
def test_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mix: str) -> None:
    shape = replace(
        SHAPES["Qwen3-30B-A3B"], **SMALLER, n_expert=6, n_expert_used=2, n_ff_expert=256
    )
    monkeypatch.setitem(make_model.SHAPES, "small", shape)
    path = tmp_path / "m.gguf"
    make_model.make_model(path, "small", mix, n_layer=2)
    with Model.open(path) as model:
        logits = model.session(32).eval([300, 301, 302])
        assert np.isfinite(logits).all()
        assert 0.1 < logits.std() < 10
        attention = 256 * 128 * (4 + 2 + 2 + 4)  # q, k, v and output, of heads of 128
        layer = attention + 256 * 6 + 2 * 3 * 256 * 256
        assert operations_per_token(model) == 2 * (2 * layer + 256 * 400)
