"""Hugging Face models to GGUF files: values, types, and what may go wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of conversion")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

import torch
import transformers

from llamacpp import FormatError, InvalidArgumentError, Model, ModelFileError, UnsupportedError
from llamacpp.convert import convert_hf
from tests import hf_models

OPTIONS: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Any:
    return hf_models.make("Qwen2", OPTIONS)


@pytest.fixture
def folder(tmp_path: Path, network: Any) -> Path:
    return hf_models.save(tmp_path / "model", network)


def convert(folder: Path, **options: Any) -> gguf.GGUFReader:
    target = folder.with_suffix(f".{len(list(folder.parent.iterdir()))}.gguf")
    convert_hf(folder, target, vocabulary=False, **options)
    return gguf.GGUFReader(target)


def values(reader: gguf.GGUFReader) -> dict[str, np.ndarray]:
    return {
        t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1])
        for t in reader.tensors
    }


def test_values_stay_what_they_are(folder: Path, network: Any) -> None:
    found = values(convert(folder, type="f32"))
    state = {k: v.float().numpy() for k, v in network.state_dict().items()}
    assert len(found) == len(state)
    assert np.array_equal(found["token_embd.weight"], state["model.embed_tokens.weight"])
    assert np.array_equal(found["output.weight"], state["lm_head.weight"])
    up = "model.layers.1.mlp.up_proj.weight"
    assert np.array_equal(found["blk.1.ffn_up.weight"], state[up])
    bias = "model.layers.0.self_attn.q_proj.bias"
    assert np.array_equal(found["blk.0.attn_q.bias"], state[bias])


@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0"])
def test_types_are_those_of_the_gguf_package(folder: Path, network: Any, kind: str) -> None:
    reader = convert(folder, type=kind)
    want = gguf.GGMLQuantizationType[kind.upper()]
    state = {k: v.float().numpy() for k, v in network.state_dict().items()}
    by_name = {t.name: t for t in reader.tensors}
    for ours, theirs in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
    ):
        assert by_name[ours].tensor_type == want
        packed = gguf.quants.quantize(state[theirs], want)
        assert by_name[ours].data.tobytes() == packed.tobytes()
    assert by_name["output_norm.weight"].tensor_type == gguf.GGMLQuantizationType.F32
    known = {"f16": 1, "bf16": 32, "q8_0": 7}[kind]
    assert reader.fields["general.file_type"].contents() == known


def test_a_model_in_parts_and_one_of_pytorch_are_the_same(folder: Path, network: Any) -> None:
    whole = values(convert(folder, type="f32"))
    parts = hf_models.save(folder.with_name("parts"), network, max_shard_size="40KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    old = folder.with_name("old")
    old.mkdir()
    (old / "config.json").write_bytes((folder / "config.json").read_bytes())
    state = {k: v.to(torch.bfloat16).float() for k, v in network.state_dict().items()}
    torch.save({k: v.to(torch.bfloat16) for k, v in state.items()}, old / "pytorch_model.bin")
    assert all(np.array_equal(v, whole[k]) for k, v in values(convert(parts, type="f32")).items())
    found = values(convert(old, type="f32"))
    assert np.array_equal(found["output.weight"], state["lm_head.weight"].numpy())


def test_what_runs_says_what_transformers_says(folder: Path, network: Any, tmp_path: Path) -> None:
    """In BF16, with what is lost by it: another check than that of every architecture in F32."""
    target = tmp_path / "model.gguf"
    convert_hf(folder, target, type="bf16", vocabulary=False)
    tokens = list(range(3, 33))
    with Model.open(target, n_threads=1) as model:
        got = model.session().eval(tokens, logits="all")
    want = hf_models.logits(network, tokens)
    assert got is not None
    assert ((got - want) ** 2).sum() / (want**2).sum() < 1e-4


MIXTURE = {
    "head_dim": 16, "num_local_experts": 5, "num_experts": 5, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "sliding_window": 8,
    "experts_implementation": "eager",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Qwen2", {}),
        ("Mixtral", MIXTURE),
        ("Qwen2Moe", MIXTURE),
        ("Qwen3Moe", MIXTURE | {"norm_topk_prob": True}),
        ("GptOss", MIXTURE),
    ],
)
def test_llama_cpp_reads_it(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    python = os.environ.get("LLAMACPP_PEER_PYTHON")
    if not python:
        pytest.skip("LLAMACPP_PEER_PYTHON names no interpreter with llama-cpp-python")
    from tests.convert.test_vocabulary import train_bpe

    network = hf_models.make(kind, {**OPTIONS, "vocab_size": 320, **options})
    folder = hf_models.save(tmp_path / "model", network)
    train_bpe(folder)
    target = tmp_path / "model.gguf"
    convert_hf(folder, target, type="f32", pre="qwen2")
    code = (
        "import sys, json; from llama_cpp import Llama\n"
        "m = Llama(sys.argv[1], n_ctx=64, verbose=False, logits_all=True)\n"
        "t = m.tokenize(b'the other day', add_bos=False); m.eval(t)\n"
        "print(json.dumps([t, m.scores[len(t) - 1].tolist()]))"
    )
    done = subprocess.run([python, "-c", code, target], capture_output=True, text=True, check=True)
    tokens, scores = json.loads(done.stdout.splitlines()[-1])
    with Model.open(target) as model:
        assert model.tokenizer is not None
        assert model.tokenizer.encode("the other day", add_bos=False) == tokens
    want = hf_models.logits(network, tokens)[-1]
    assert ((np.array(scores) - want) ** 2).sum() / (want**2).sum() < 1e-4


def test_progress_and_an_end_that_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "model.gguf"
    convert_hf(folder, target, vocabulary=False, progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1] > 0
    before = target.read_bytes()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_hf(folder, target, vocabulary=False, overwrite=True, progress=stop)
    assert target.read_bytes() == before
    with pytest.raises(ModelFileError, match="exists already"):
        convert_hf(folder, target, vocabulary=False)
    assert {p.name for p in tmp_path.iterdir()} == {"model", "model.gguf"}


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, UnsupportedError, "'MambaForCausalLM' is not"),
        ({"hidden_size": "absent"}, FormatError, "hidden_size or n_embd is missing"),
        ({"num_hidden_layers": -2}, FormatError, "num_hidden_layers is -2"),
        ({"rms_norm_eps": "small"}, FormatError, "is 'small', no number"),
        ({"hidden_act": "relu"}, UnsupportedError, "the activation 'relu'"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4}},
            UnsupportedError,
            "RoPE scaling 'dynamic'",
        ),
    ],
)
def test_configurations_that_cannot_be(
    folder: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    edit(folder, **changes)
    with pytest.raises(error, match=message):
        convert_hf(folder, folder.with_suffix(".gguf"), vocabulary=False)
    assert not folder.with_suffix(".gguf").exists()


def test_other_things_that_are_wrong(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.gguf"
    with pytest.raises(InvalidArgumentError, match="no type 'q9'"):
        convert_hf(folder, target, type="q9")
    with pytest.raises(ModelFileError, match="no folder"):
        convert_hf(tmp_path / "absent", target)
    with pytest.raises(ModelFileError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        convert_hf(folder, target)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"config\.json: cannot read"):
        convert_hf(folder, target, vocabulary=False)


def test_older_configurations_mean_the_same(tmp_path: Path) -> None:
    """Before transformers 5, rope_theta and rope_scaling stood by themselves."""
    rope = {
        "rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }  # fmt: skip
    network = hf_models.make("Llama", {**OPTIONS, "rope_parameters": rope})
    folder = hf_models.save(tmp_path / "model", network)
    new = convert(folder, type="f32")
    scaling = {k: v for k, v in rope.items() if k != "rope_theta"}
    edit(folder, rope_parameters="absent", rope_theta=5000.0, rope_scaling=scaling)
    old = convert(folder, type="f32")
    assert all(np.array_equal(v, values(old)[k]) for k, v in values(new).items())
    for key in ("llama.rope.freq_base", "llama.rope.dimension_count"):
        assert new.fields[key].contents() == old.fields[key].contents()
    functions = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS
    scaled, _ = functions["llama3"](network.config, torch.device("cpu"))
    plain = 5000.0 ** (-np.arange(0, 16, 2) / 16)
    assert values(new)["rope_freqs.weight"] == pytest.approx(plain / scaled.numpy(), rel=1e-6)
