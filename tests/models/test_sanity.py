"""Files that parse, but make no model: refused before a pointer reaches C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamacpp.engine import Model
from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.format.types import GGMLType
from tests.gguf_bytes import model as gguf_file

N_EMBD, N_FF, N_VOCAB = 32, 64, 10
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 64,
    "llama.embedding_length": N_EMBD,
    "llama.block_count": 1,
    "llama.feed_forward_length": N_FF,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.rope.dimension_count": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
SHAPES: dict[str, tuple[int, ...]] = {
    "token_embd.weight": (N_EMBD, N_VOCAB),
    "output_norm.weight": (N_EMBD,),
    "blk.0.attn_norm.weight": (N_EMBD,),
    "blk.0.attn_q.weight": (N_EMBD, N_EMBD),
    "blk.0.attn_k.weight": (N_EMBD, 16),
    "blk.0.attn_v.weight": (N_EMBD, 16),
    "blk.0.attn_output.weight": (N_EMBD, N_EMBD),
    "blk.0.ffn_norm.weight": (N_EMBD,),
    "blk.0.ffn_gate.weight": (N_EMBD, N_FF),
    "blk.0.ffn_up.weight": (N_EMBD, N_FF),
    "blk.0.ffn_down.weight": (N_FF, N_EMBD),
}


def write(
    path: Path,
    metadata: dict[str, Any] | None = None,
    shapes: dict[str, tuple[int, ...] | None] | None = None,
    types: dict[str, GGMLType] | None = None,
) -> Path:
    """A small model, with some of its entries replaced (None: left out)."""
    merged = {k: v for k, v in {**METADATA, **(metadata or {})}.items() if v is not None}
    tensors = {}
    for name, shape in {**SHAPES, **(shapes or {})}.items():
        if shape is not None:
            kind = (types or {}).get(name, GGMLType.F32)
            rows = 1
            for extent in shape[1:]:
                rows *= extent
            tensors[name] = (kind, shape, bytes(rows * kind.row_nbytes(shape[0])))
    path.write_bytes(gguf_file(merged, tensors))
    return path


def test_the_model_these_tests_break_is_whole(tmp_path: Path) -> None:
    with Model.open(write(tmp_path / "m.gguf")) as model:
        assert model.session().eval([1, 2, 3]).shape == (1, N_VOCAB)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": None}, "general.architecture.*missing"),
        ({"general.architecture": 5}, "general.architecture"),
        ({"llama.block_count": None}, "llama.block_count.*missing"),
        ({"llama.block_count": "two"}, "llama.block_count"),
        ({"llama.block_count": 2.0}, "llama.block_count"),
        ({"llama.block_count": 0}, "llama.block_count.* is 0"),
        ({"llama.block_count": 2}, r"blk\.1\.attn_norm\.weight.*missing"),
        ({"llama.embedding_length": 33}, "33 cannot be split into 4 heads"),
        ({"llama.embedding_length": 64}, r"shape \[32, 10\] instead of \[64, 10\]"),
        ({"llama.embedding_length": 2**31}, "outside 1 to"),
        ({"llama.attention.head_count": 0}, "head_count"),
        ({"llama.attention.head_count_kv": 3}, "4 attention heads cannot share 3"),
        ({"llama.attention.head_count_kv": [2]}, "head_count_kv"),
        ({"llama.attention.key_length": 4096}, "key_length"),
        ({"llama.rope.dimension_count": 7}, "7 rotated dimensions"),
        ({"llama.rope.dimension_count": 10}, "10 rotated dimensions do not fit heads of 8"),
        ({"llama.rope.freq_base": 0.0}, "freq_base.* not positive"),
        ({"llama.rope.freq_base": float("nan")}, "freq_base.* not positive"),
        ({"llama.attention.layer_norm_rms_epsilon": float("inf")}, "epsilon.* not positive"),
        ({"llama.attention.layer_norm_rms_epsilon": -1e-5}, "epsilon.* not positive"),
        ({"llama.rope.scaling.type": "linear"}, "rope.scaling.factor|not positive"),
        ({"tokenizer.ggml.tokens": ["a"] * 9}, "9 tokens, but the embedding 10 rows"),
    ],
)
def test_hyperparameters_that_make_no_sense_are_refused(
    metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError, match=message):
        Model.open(write(tmp_path / "m.gguf", metadata))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "mamba"}, "architecture 'mamba' is not supported.*llama"),
        (
            {"llama.expert_count": 8, "llama.expert_used_count": 2, "llama.expert_gating_func": 2},
            "expert_gating_func is 2",
        ),
        ({"llama.rope.scaling.type": "dynamic", "llama.rope.scaling.factor": 4.0}, "'dynamic'"),
    ],
)
def test_models_that_we_do_not_run_are_refused_by_name(
    metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Model.open(write(tmp_path / "m.gguf", metadata))


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_tensor_is_required_in_its_shape(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=f"{name}.* missing"):
        Model.open(write(tmp_path / "m.gguf", shapes={name: None}))
    larger = (SHAPES[name][0] + 1, *SHAPES[name][1:])
    with pytest.raises(FormatError, match=r"has the shape|missing"):
        Model.open(write(tmp_path / "m.gguf", shapes={name: larger}))
    with pytest.raises(FormatError, match=r"has the shape|not a matrix"):
        Model.open(write(tmp_path / "m.gguf", shapes={name: (*SHAPES[name], 2)}))


def test_layers_beyond_block_count_are_refused(tmp_path: Path) -> None:
    extra: dict[str, tuple[int, ...] | None] = {"blk.1.attn_norm.weight": (N_EMBD,)}
    with pytest.raises(FormatError, match=r"blk\.1\..* beyond the 1 layers"):
        Model.open(write(tmp_path / "m.gguf", shapes=extra))


@pytest.mark.parametrize("kind", [GGMLType.Q8_1, GGMLType.F64, GGMLType.I32])
def test_weight_types_without_kernels_are_refused_by_name(kind: GGMLType, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", types={"blk.0.ffn_up.weight": kind})
    with pytest.raises(UnsupportedError, match=f"blk.0.ffn_up.weight.*{kind.name}"):
        Model.open(path)


@pytest.mark.parametrize("name", ["output_norm.weight", "blk.0.attn_norm.weight"])
def test_vectors_must_be_float32(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", types={name: GGMLType.F16})
    with pytest.raises(UnsupportedError, match=f"{name}.*must be F32"):
        Model.open(path)


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"attention.sliding_window_pattern": [True, False]}, FormatError, "2 entries, but 1"),
        ({"attention.sliding_window_pattern": [1]}, FormatError, "an array of BOOL"),
        ({"attention.scale": float("nan")}, FormatError, "attention.scale.* not positive"),
        ({"final_logit_softcapping": -30.0}, FormatError, "softcapping.* not positive"),
        ({"rope.scaling.type": "yarn"}, FormatError, "rope.scaling.factor"),
        (
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
             "rope.scaling.yarn_ext_factor": 0.5},
            UnsupportedError, "ext_factor",
        ),
    ],
)  # fmt: skip
def test_options_of_newer_architectures_are_checked(
    metadata: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        Model.open(write(tmp_path / "m.gguf", {f"llama.{k}": v for k, v in metadata.items()}))


def test_biases_and_rope_factors_are_checked(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"attn_q.bias.*\[31\] instead of \[32\]"):
        Model.open(write(tmp_path / "m.gguf", shapes={"blk.0.attn_q.bias": (31,)}))
    with pytest.raises(FormatError, match=r"rope_freqs.weight.*\[5\] instead of \[4\]"):
        Model.open(write(tmp_path / "m.gguf", shapes={"rope_freqs.weight": (5,)}))
    with pytest.raises(FormatError, match=r"rope_freqs\.weight.*positive"):
        Model.open(write(tmp_path / "m.gguf", shapes={"rope_freqs.weight": (4,)}))
