"""Importances of experts: those of each, over the tokens that it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of conversion")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

import torch

from llamacpp import Model
from llamacpp.convert import convert_hf
from llamacpp.errors import InvalidArgumentError
from llamacpp.format import ModelFile
from llamacpp.quantize import Importance, quantize_model, read_importance, write_importance
from llamacpp.quantize.collect import collect_importance
from tests import hf_models
from tests.convert.test_vocabulary import train_bpe

N_EXPERT, N_CTX = 6, 24
OPTIONS: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
    "num_experts": N_EXPERT, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 96, "experts_implementation": "eager",
}  # fmt: skip
TEXT = "the other one was there when the rain began to fall on the old house. " * 3
PARTS = ("gate", "up", "down")


class Seen:
    """Squares of what the experts of a layer are multiplied with, as PyTorch computes them."""

    def __init__(self) -> None:
        self.x = np.zeros((N_EXPERT, 64))
        self.hidden = np.zeros((N_EXPERT, 32))
        self.counts = np.zeros(N_EXPERT)

    def __call__(self, module: Any, given: tuple[Any, ...], out: Any) -> None:
        x, chosen = given[0], given[1]
        for expert in range(N_EXPERT):
            rows = x[(chosen == expert).any(dim=1)]
            gate, up = (rows @ module.gate_up_proj[expert].T).chunk(2, dim=1)
            hidden = torch.nn.functional.silu(gate) * up
            self.x[expert] += (rows**2).sum(dim=0).numpy()
            self.hidden[expert] += (hidden**2).sum(dim=0).numpy()
            self.counts[expert] += len(rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Importance, list[Seen]]:
    """A model, its importances, and what they should be."""
    folder = tmp_path_factory.mktemp("experts")
    network = hf_models.make("Qwen2Moe", OPTIONS)
    hf_models.save(folder / "model", network)
    train_bpe(folder / "model")
    path = folder / "model.gguf"
    convert_hf(folder / "model", path, type="f32", pre="qwen2")
    with Model.open(path, n_threads=2) as model:
        importance = collect_importance(model, TEXT, n_ctx=N_CTX)
        assert model.tokenizer is not None
        tokens = model.tokenizer.encode(TEXT)
    layers = [Seen() for _ in range(2)]
    for layer, seen in zip(network.model.layers, layers, strict=True):
        layer.mlp.experts.register_forward_hook(seen)
    for start in range(0, importance.n_chunks * N_CTX, N_CTX):
        hf_models.logits(network, tokens[start : start + N_CTX])
    return path, importance, layers


def test_each_expert_has_sums_of_its_own(made: tuple[Path, Importance, list[Seen]]) -> None:
    _, importance, layers = made
    assert importance.n_chunks >= 3
    for number, seen in enumerate(layers):
        assert len(set(seen.counts)) > 2
        assert seen.counts.sum() == 2 * importance.n_chunks * N_CTX
        for part in PARTS:
            name = f"blk.{number}.ffn_{part}_exps.weight"
            assert np.array_equal(importance.counts[name], seen.counts)
            want = seen.hidden if part == "down" else seen.x
            np.testing.assert_allclose(importance.sums[name], want, rtol=2e-3, atol=1e-6)
    shared = "blk.0.ffn_up_shexp.weight"
    assert importance.counts[shared].tolist() == [importance.n_chunks * N_CTX]
    np.testing.assert_allclose(  # both experts of a token have the same input
        importance.sums[shared][0], layers[0].x.sum(axis=0) / 2, rtol=2e-3
    )


def test_the_file_is_that_of_llama_cpp(
    made: tuple[Path, Importance, list[Seen]], tmp_path: Path
) -> None:
    importance = made[1]
    write_importance(importance, tmp_path / "i.gguf")
    tensors = {t.name: t for t in gguf.GGUFReader(tmp_path / "i.gguf").tensors}
    name = "blk.1.ffn_down_exps.weight"
    assert tensors[f"{name}.in_sum2"].shape.tolist() == [32, N_EXPERT]
    assert tensors[f"{name}.counts"].shape.tolist() == [1, N_EXPERT]
    again = read_importance(tmp_path / "i.gguf")
    assert np.array_equal(again.sums[name], importance.sums[name])
    assert np.array_equal(again.counts[name], importance.counts[name])


def test_every_expert_is_weighted_by_its_own(
    made: tuple[Path, Importance, list[Seen]], tmp_path: Path
) -> None:
    source = made[0]
    rng = np.random.default_rng(2)
    with ModelFile(source) as file:
        shapes = {n: t.shape for n, t in file.tensors.items() if n.endswith("_exps.weight")}
    sums = {n: rng.gamma(0.3, size=(N_EXPERT, s[0])).astype(np.float32) for n, s in shapes.items()}
    counts = dict.fromkeys(sums, np.ones(N_EXPERT, np.float32))
    files = {"plain": None, "own": sums, "rolled": {n: np.roll(s, 1, 0) for n, s in sums.items()}}
    made_of = {}
    for label, given in files.items():
        importance = None if given is None else Importance(given, counts)
        quantize_model(source, tmp_path / label, "Q4_0", importance=importance)
        made_of[label] = _values(tmp_path / label)
    exact = _values(source)
    for name, weights in sums.items():
        errors = {label: ((v[name] - exact[name]) ** 2 * weights[:, None]).sum(axis=(1, 2))
                  for label, v in made_of.items()}  # fmt: skip
        assert (errors["own"] < errors["plain"]).all()
        assert (errors["own"] < errors["rolled"]).all()
    one = {name: s[:1] for name, s in sums.items()}
    with pytest.raises(InvalidArgumentError, match="made with another model"):
        quantize_model(source, tmp_path / "x", "Q4_0", importance=Importance(one, counts))


def _values(path: Path) -> dict[str, np.ndarray]:
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1])
        for t in gguf.GGUFReader(path).tensors
    }
