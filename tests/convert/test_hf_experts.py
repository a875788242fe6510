"""Mixtures of experts: tensors that lie together, MXFP4, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of conversion")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

import torch
from safetensors.torch import load_file, save_file

from llamacpp import FormatError, Model, UnsupportedError
from llamacpp.convert import convert_hf
from llamacpp.convert.checkpoint import Stored
from llamacpp.convert.experts import experts_of
from llamacpp.convert.metadata import ARCHITECTURES
from tests import hf_models
from tests.reference import nmse

OPTIONS: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "head_dim": 16,
    "num_local_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "experts_implementation": "eager",
}  # fmt: skip
SHARED = {"num_experts": 5, "shared_expert_intermediate_size": 32}
KINDS = {
    "Mixtral": {}, "Qwen2Moe": SHARED, "Qwen3Moe": {"norm_topk_prob": True}, "GptOss": {},
}  # fmt: skip
E8M0 = 127  # of a scale of 1


def saved(folder: Path, kind: str, **options: Any) -> tuple[Path, Any]:
    network = hf_models.make(kind, OPTIONS | KINDS[kind])
    return hf_models.save(folder / kind, network, **options), network


def convert(folder: Path, kind: str = "f32") -> gguf.GGUFReader:
    target = folder.with_suffix(f".{len(list(folder.parent.iterdir()))}.gguf")
    convert_hf(folder, target, type=kind, vocabulary=False)
    return gguf.GGUFReader(target)


def values(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1])
        for t in reader.tensors
    }


def configure(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_experts(kind: str, tmp_path: Path) -> None:
    folder, network = saved(tmp_path, kind)
    found = values(convert(folder))
    experts = network.model.layers[1].mlp.experts
    gate_up, down = (p.float().detach().numpy() for p in (experts.gate_up_proj, experts.down_proj))
    if kind == "GptOss":
        gate_up, down = gate_up.swapaxes(1, 2), down.swapaxes(1, 2)
        gate, up = gate_up[:, 0::2], gate_up[:, 1::2]
        bias = experts.gate_up_proj_bias.float().detach().numpy()
        assert np.array_equal(found["blk.1.ffn_gate_exps.bias"], bias[:, 0::2])
        assert np.array_equal(found["blk.1.ffn_up_exps.bias"], bias[:, 1::2])
        sinks = network.model.layers[1].self_attn.sinks
        assert np.array_equal(found["blk.1.attn_sinks.weight"], sinks.detach().numpy())
    else:
        gate, up = np.split(gate_up, 2, axis=1)
    assert np.array_equal(found["blk.1.ffn_gate_exps.weight"], gate)
    assert np.array_equal(found["blk.1.ffn_up_exps.weight"], up)
    assert np.array_equal(found["blk.1.ffn_down_exps.weight"], down)


@pytest.mark.parametrize("kind", ["Mixtral", "Qwen2Moe", "Qwen3Moe"])
def test_experts_that_lie_together_are_the_same(kind: str, tmp_path: Path) -> None:
    folder, network = saved(tmp_path, kind)
    apart = values(convert(folder))
    together = hf_models.save(tmp_path / "together", network, save_original_format=False)
    names = load_file(together / "model.safetensors")
    assert "model.layers.0.mlp.experts.gate_up_proj" in names
    found = values(convert(together))
    assert found.keys() == apart.keys()
    assert all(np.array_equal(found[name], apart[name]) for name in apart)


class Counting:
    """A checkpoint that counts what is read of it."""

    tensors = {"model.layers.0.mlp.experts.gate_up_proj": Stored("F32", (5, 64, 8))}  # noqa: RUF012
    most = 0

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        self.most = max(self.most, stop - start)
        values = np.arange(5 * 64 * 8, dtype=np.float32).reshape(5, 64, 8)
        return values[start:stop]

    def codes(self, name: str, start: int, stop: int) -> np.ndarray:
        raise AssertionError


def test_no_more_than_an_expert_is_read_at_a_time() -> None:
    checkpoint = Counting()
    kind = ARCHITECTURES["Qwen3MoeForCausalLM"]
    gate, up = experts_of(checkpoint, {"num_experts": 5}, kind)
    assert [rows.shape for rows in up.rows(checkpoint)] == [(32, 8)] * 5
    assert next(iter(gate.rows(checkpoint)))[0, 0] == 0
    assert next(iter(up.rows(checkpoint)))[0, 0] == 32 * 8
    assert checkpoint.most == 1


def test_metadata_and_types_are_those_of_llama_cpp(tmp_path: Path) -> None:
    reader = convert(saved(tmp_path, "Qwen2Moe")[0], "q8_0")
    fields = {key: field.contents() for key, field in reader.fields.items()}
    assert fields["general.architecture"] == "qwen2moe"
    keys = ("expert_count", "expert_used_count", "expert_feed_forward_length",
            "expert_shared_feed_forward_length", "feed_forward_length")  # fmt: skip
    assert [fields[f"qwen2moe.{key}"] for key in keys] == [5, 2, 32, 32, 96]
    assert "qwen2moe.expert_weights_norm" not in fields
    tensors = {t.name.removeprefix("blk.0."): t for t in reader.tensors}
    types = {
        "ffn_gate_inp": ("F32", [64, 5]),
        "ffn_gate_inp_shexp": ("F32", [64]),
        "ffn_up_shexp": ("Q8_0", [64, 32]),
        "ffn_down_exps": ("Q8_0", [32, 64, 5]),
    }
    for name, (type_, shape) in types.items():
        tensor = tensors[f"{name}.weight"]
        assert (tensor.tensor_type.name, tensor.shape.tolist()) == (type_, shape), name
    known = gguf.MODEL_TENSORS[gguf.MODEL_ARCH.QWEN2MOE]
    stems = {gguf.TENSOR_NAMES[key].format(bid=0).removeprefix("blk.0.") for key in known}
    assert {name.rpartition(".")[0] for name in tensors if "blk" not in name} <= stems


@pytest.mark.parametrize(("kind", "usual"), [("Qwen2Moe", False), ("Qwen3Moe", True)])
def test_weights_norm_is_told_where_it_is_not_usual(kind: str, usual: bool, tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, kind)
    key = f"{kind.lower()}.expert_weights_norm"
    configure(folder, norm_topk_prob=usual)
    assert key not in convert(folder).fields
    configure(folder, norm_topk_prob=not usual)
    assert convert(folder).fields[key].contents() is (not usual)


def test_configurations_as_they_were_published_say_the_same(tmp_path: Path) -> None:
    """Those of transformers 4: rope_scaling, and what has its usual value left out."""
    folder, _ = saved(tmp_path, "GptOss")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    fields = convert(folder).fields
    rope = config.pop("rope_parameters")
    assert rope["rope_type"] == "yarn"
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    for key in ("layer_types", "swiglu_alpha", "tie_word_embeddings"):
        del config[key]
    path.write_text(json.dumps(config | {"experts_per_token": 2}))
    again = convert(folder).fields
    assert again.keys() == fields.keys()
    assert all(again[key].contents() == fields[key].contents() for key in fields)


def mxfp4(folder: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Make the experts of a saved gpt-oss MXFP4; their values, by GGUF's names in layer 0."""
    rng = np.random.default_rng(seed)
    tensors = load_file(folder / "model.safetensors")
    lut = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    lut = np.concatenate([lut, -lut])
    exact = {}
    for layer in range(2):
        for part in ("gate_up_proj", "down_proj"):
            name = f"model.layers.{layer}.mlp.experts.{part}"
            n_expert, columns, rows = tensors.pop(name).shape
            codes = rng.integers(0, 16, (n_expert, rows, columns // 32, 32), np.uint8)
            scales = rng.integers(E8M0 - 6, E8M0 - 3, codes.shape[:3], np.uint8)
            blocks = codes[..., 0::2] | codes[..., 1::2] << 4
            tensors[f"{name}_blocks"] = torch.from_numpy(blocks)
            tensors[f"{name}_scales"] = torch.from_numpy(scales)
            whole = lut[codes] * 2.0 ** (scales[..., None].astype(int) - E8M0)
            exact[f"{layer}.{part}"] = whole.reshape(n_expert, rows, columns)
    save_file(tensors, folder / "model.safetensors")
    return exact


def test_mxfp4_keeps_its_values_and_runs(tmp_path: Path) -> None:
    folder, network = saved(tmp_path, "GptOss")
    exact = mxfp4(folder)
    reader = convert(folder)
    kinds = {t.name: t.tensor_type for t in reader.tensors if "_exps.weight" in t.name}
    assert set(kinds.values()) == {gguf.GGMLQuantizationType.MXFP4}
    assert len(kinds) == 6
    found = values(reader)
    for layer in range(2):
        gate_up = exact[f"{layer}.gate_up_proj"]
        assert np.array_equal(found[f"blk.{layer}.ffn_gate_exps.weight"], gate_up[:, 0::2])
        assert np.array_equal(found[f"blk.{layer}.ffn_up_exps.weight"], gate_up[:, 1::2])
        down = exact[f"{layer}.down_proj"]
        assert np.array_equal(found[f"blk.{layer}.ffn_down_exps.weight"], down)
        experts = network.model.layers[layer].mlp.experts
        with torch.no_grad():
            experts.gate_up_proj.copy_(torch.from_numpy(gate_up).mT)
            experts.down_proj.copy_(torch.from_numpy(down).mT)
    tokens = list(range(3, 40))
    path = next(tmp_path.glob("*.gguf"))
    with Model.open(path, n_threads=1) as model:
        got = model.session(cache_type="f32").eval(tokens, logits="all")
    assert nmse(got, hf_models.logits(network, tokens)) < 1e-3  # inputs are rounded to 8 bits


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("Qwen2Moe", {"decoder_sparse_step": 2}, "some layers have no experts"),
        ("Qwen3Moe", {"mlp_only_layers": [0]}, "some layers have no experts"),
        ("GptOss", {"swiglu_limit": 5.0}, "swiglu_limit is not supported"),
        ("GptOss", {"swiglu_alpha": 1.0}, "swiglu_alpha"),
        ("GptOss", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "truncate True"),
        ("Mixtral", {"hidden_act": "relu"}, "activation 'relu'"),
        ("Mixtral", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "truncate": False}},
         "truncate False"),
    ],
)  # fmt: skip
def test_what_the_engine_does_otherwise_is_refused(
    kind: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder, _ = saved(tmp_path, kind)
    configure(folder, **changed)
    with pytest.raises(UnsupportedError, match=message):
        convert(folder)


def rewrite(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Replace a tensor of the checkpoint, or leave it out."""
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


EXPERTS = "model.layers.1.mlp.experts."


@pytest.mark.parametrize(
    ("kind", "name", "tensor", "message"),
    [
        ("Qwen3Moe", "4.up_proj.weight", None, "should have 5 experts.*is a file missing"),
        ("Qwen3Moe", "7.up_proj.weight", torch.zeros(32, 64), "should have 5 experts"),
        ("Qwen3Moe", "4.up_proj.weight", torch.zeros(64, 64), "of one shape"),
        ("Qwen3Moe", "gate_up_proj", torch.zeros(5, 64), r"has the shape \[5, 64\]"),
        ("Qwen3Moe", "gate_up_proj", torch.zeros(5, 64, 64), "are the same"),
        ("Qwen3Moe", "gate_up_proj", torch.zeros(5, 63, 64), "63 rows are not those"),
        ("Qwen3Moe", "gate_up_proj", torch.zeros(6, 64, 64), "6 experts instead of 5"),
        ("GptOss", "down_proj_blocks", torch.zeros(5, 64, 3, 16, dtype=torch.uint8), "no scales"),
        ("GptOss", "down_proj_scales", torch.zeros(5, 64, 3, dtype=torch.uint8), "has no blocks"),
        ("GptOss", "down_proj_extra", torch.zeros(5), "is of no part that gpt-oss has"),
    ],
)
def test_damaged_checkpoints_are_refused(
    kind: str, name: str, tensor: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    folder, _ = saved(tmp_path, kind)
    rewrite(folder, EXPERTS + name, tensor)
    with pytest.raises(FormatError, match=message):
        convert(folder)


def test_scales_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, "GptOss")
    mxfp4(folder)
    rewrite(folder, f"{EXPERTS}down_proj_scales", torch.zeros(5, 64, 4, dtype=torch.uint8))
    with pytest.raises(FormatError, match="no scales"):
        convert(folder)


def test_bytes_that_are_no_codes_are_refused(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, "GptOss")
    rewrite(folder, "lm_head.weight", torch.zeros(96, 64, dtype=torch.uint8))
    with pytest.raises(UnsupportedError, match="stored as U8"):
        convert(folder)
    mxfp4(folder)
    rewrite(folder, "lm_head.weight", None)
    rewrite(folder, f"{EXPERTS}down_proj_scales", torch.zeros(5, 64, 3))
    with pytest.raises(UnsupportedError, match="stored as F32"):
        convert(folder)


def test_experts_of_a_dense_model_are_refused(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path, "Qwen3Moe")
    configure(folder, architectures=["Qwen3ForCausalLM"])
    with pytest.raises(FormatError, match="of no part that qwen3 has here"):
        convert(folder)
