"""Bytes and operations of a token, against a count of the file by another reader."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from llamacpp.measure.speed import kv_bytes, operations_per_token, weight_bytes_per_token
from tests.random_models import write_random_model

N_VOCAB, N_EMBD = 300, 256


@pytest.mark.parametrize("kind", [Type.F16, Type.Q4_0, Type.Q6_K])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_what_a_token_costs(tmp_path: Path, kind: Type, tied: bool, extra: bool) -> None:
    path = write_random_model(
        tmp_path / "m.gguf", kind, n_vocab=N_VOCAB, n_embd=N_EMBD, tied=tied, biases=extra,
        rope_freqs=extra,
    )  # fmt: skip
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    embedding = tensors["token_embd.weight"]
    nbytes = sum(int(t.n_bytes) for t in tensors.values())
    if not tied:
        nbytes -= int(embedding.n_bytes) // N_VOCAB * (N_VOCAB - 1)
    products = sum(int(t.n_elements) for t in tensors.values() if t.name.endswith("weight")
                   and t.name.startswith("blk") and len(t.shape) == 2)  # fmt: skip
    output = N_VOCAB * N_EMBD
    with Model.open(path) as model:
        assert weight_bytes_per_token(model) == nbytes
        assert operations_per_token(model) == 2 * (products + output)
        assert operations_per_token(model, rows=0) == 2 * products
        assert operations_per_token(model, rows=1 / 512) == 2 * products + 2 * output / 512


@pytest.mark.parametrize("kind", [Type.F32, Type.Q4_0])
def test_of_experts_those_count_that_a_token_is_given_to(tmp_path: Path, kind: Type) -> None:
    path = write_random_model(tmp_path / "m.gguf", kind, n_vocab=N_VOCAB, experts=(6, 2))
    tensors = gguf.GGUFReader(path).tensors
    nbytes = products = 0.0
    for t in tensors:
        share = 2 / 6 if "_exps" in t.name else 1
        rows = N_VOCAB if t.name == "token_embd.weight" else 1
        nbytes += share * int(t.n_bytes) / rows
        if len(t.shape) > 1 and rows == 1:
            products += share * int(t.n_elements)
    with Model.open(path) as model:
        assert weight_bytes_per_token(model) == round(nbytes)
        assert operations_per_token(model) == round(2 * products)


@pytest.mark.parametrize(("cache_type", "bits"), [("f32", 32), ("f16", 16), ("q8_0", 8.5)])
def test_keys_and_values_of_a_depth(tmp_path: Path, cache_type: str, bits: float) -> None:
    path = write_random_model(
        tmp_path / "m.gguf", Type.F32, n_layer=3, n_kv_head=2, head_dim=64, n_ctx=128
    )
    with Model.open(path) as model:
        session = model.session(cache_type=cache_type)
        for depth in (0, 1, 16, 100):
            blocks = -(-depth // 16) * 16  # keys are kept by 16 positions
            assert kv_bytes(session, depth) == 3 * 2 * 64 * (blocks + depth) * bits / 8
        assert kv_bytes(session.cache, 100) == kv_bytes(session, 100)
        views = session.cache.slices(0, 100)
        assert kv_bytes(session, 100) == sum(len(view) for view in views)
