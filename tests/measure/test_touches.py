"""Faults and touches, step by step."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import ContextOverflowError, Model
from llamacpp.measure.touches import observe
from llamacpp.measure.work import weight_bytes_per_token
from llamacpp.models.layers import mixtures
from tests.random_models import write_random_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
EMBEDDING = "token_embd.weight"
PAGE = 4096


def test_faults_are_counted_in_a_plain_run(model: Model) -> None:
    said: list[str] = []
    seen = observe(model, [5, 6, 7], 2, show=said.append)
    assert [(step.name, step.n_tokens) for step in seen.steps] == [
        ("prompt", 3), ("token 1", 1), ("token 2", 1),
    ]  # fmt: skip
    assert said == [f"{step.name}: counting faults" for step in seen.steps]
    assert all(step.faults.minor >= 0 <= step.faults.major for step in seen.steps)
    assert {step.touched_pages for step in seen.steps} == {None}
    assert seen.touched is None
    assert seen.resident is not None
    assert seen.memory.resident == seen.memory.nbytes


def test_touches_are_those_of_the_same_tokens(model: Model) -> None:
    said: list[str] = []
    plain = observe(model, [5, 6, 7], 2)
    seen = observe(model, [5, 6, 7], 2, trace=True, show=said.append, cache_type="f32")
    assert said[3:] == [f"{name}: tracing touches" for name in ("prompt", "token 1", "token 2")]
    assert [s.n_tokens for s in seen.steps] == [s.n_tokens for s in plain.steps]
    tensors = model.file.tensors
    assert seen.touched is not None
    for step in seen.steps:
        assert step.touched is not None
        whole = {name: info.nbytes for name, info in tensors.items() if name != EMBEDDING}
        assert {name: step.touched[name] for name in whole} == whole
        assert 0 < step.touched[EMBEDDING] <= tensors[EMBEDDING].nbytes
        assert sum(step.touched.values()) >= weight_bytes_per_token(model)
    assert seen.touched.count >= max(step.touched_pages or 0 for step in seen.steps)


def test_a_prompt_touches_more_rows_of_the_embedding(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.F32, n_vocab=2000)
    with Model.open(path, n_threads=1) as model:
        prompt = list(range(0, 2000, 100))
        first, *later = observe(model, prompt, 2, trace=True).steps
        row = model.weights[EMBEDDING].row_nbytes
        assert first.touched is not None
        assert first.touched[EMBEDDING] >= len(prompt) * row
        for step in later:
            assert step.touched is not None
            assert row <= step.touched[EMBEDDING] < first.touched[EMBEDDING]


def test_after_the_first_pass_there_are_hardly_faults_though_all_is_read(model: Model) -> None:
    model.session().eval([1])
    seen = observe(model, [5], 8, trace=True)
    few = np.median([step.faults.minor for step in seen.steps[1:]])
    assert few < 5 < min(step.touched_pages or 0 for step in seen.steps)


def test_what_does_not_fit_is_refused(model: Model) -> None:
    with pytest.raises(ContextOverflowError):
        observe(model, [5, 6, 7], 2, n_ctx=4)


def test_only_the_chosen_experts_are_touched(tmp_path: Path) -> None:
    n_expert, n_used = 8, 2
    path = write_random_model(tmp_path / "m.gguf", Type.F32, experts=(n_expert, n_used))
    with Model.open(path, n_threads=2, prefetch=False) as model:
        seen = observe(model, list(range(40)), 3, trace=True)
        mixed = [tensor for e in mixtures(model.network) for tensor in e.chosen]
        assert len(mixed) == 3 * model.config.n_layer
        prompt, *tokens = (step.touched or {} for step in seen.steps)
        for tensor in mixed:
            expert = tensor.nbytes // n_expert
            assert n_used * expert < prompt[tensor.name] <= tensor.nbytes
            for token in tokens:  # whole pages, of which an expert may share its first and last
                assert n_used * expert <= token[tensor.name] <= n_used * (expert + 2 * PAGE)
        others = set(model.weights) - {EMBEDDING} - {tensor.name for tensor in mixed}
        assert all(token[name] == model.weights[name].nbytes for token in tokens for name in others)
