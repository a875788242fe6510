"""Every architecture against the transformers library in float64, on tiny random models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError
from llamacpp.measure.work import weight_bytes_per_token
from llamacpp.models.registry import ARCHITECTURES
from tests.evaluation import ways
from tests.models.findings import PAGE, Finding, page
from tests.reference import nmse

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of architectures")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

from tests import hf_models

LIMITS = {"f32": 1e-9, "f16": 2e-7}
N_VOCAB = 99
TOKENS = np.random.default_rng(5).integers(1, N_VOCAB, 45).tolist()

BASE: dict[str, Any] = {
    "vocab_size": N_VOCAB,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class Case(NamedTuple):
    """An architecture's name, transformers' name of it, and what differs from BASE."""

    arch: str
    kind: str
    options: dict[str, Any]
    n_ctx: int | None = None
    seed: int = 0  # one whose routers are never so undecided that a rounded cache decides


def rope(kind: str, base: float = 10000.0, **options: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": base, **options}}


LINEAR = rope("linear", factor=4.0)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=32)
LLAMA3 = rope(
    "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=32,
)  # fmt: skip
# of heads of 12
LONGROPE = rope(
    "longrope", short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    long_factor=[1.0, 1.5, 2.0, 3.0, 4.0, 6.0], original_max_position_embeddings=32,
)  # fmt: skip
TIED, HEADS = {"tie_word_embeddings": True}, {"head_dim": 20}
WINDOW = {"sliding_window": 7}
GPT2 = {
    "vocab_size": N_VOCAB, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GEMMA3_ROPE = {
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 50000.0, "factor": 8.0},
    }
}
OLMO3_ROPE = {
    "rope_parameters": {
        "sliding_attention": rope("default")["rope_parameters"],
        "full_attention": YARN["rope_parameters"],
    }
}
GRANITE = {
    "embedding_multiplier": 6.0, "attention_multiplier": 0.4, "residual_multiplier": 0.22,
    "logits_scaling": 3.0,
}  # fmt: skip
SLIDING = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
# The grouped product of transformers is of float32 only.
MOE = {
    "experts_implementation": "eager", "num_experts_per_tok": 2, "num_local_experts": 5,
    "moe_intermediate_size": 40,
}  # fmt: skip
SHARED = {"num_experts": 5, "shared_expert_intermediate_size": 56}
OSS_YARN = {"rope_parameters": {**YARN["rope_parameters"], "truncate": False}}

CASES = {
    "llama": Case("llama", "Llama", HEADS),
    "llama-llama3": Case("llama", "Llama", LLAMA3),
    "llama-yarn": Case("llama", "Llama", YARN),
    "llama-biases": Case("llama", "Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": Case("llama", "Mistral", WINDOW),
    "qwen2": Case("qwen2", "Qwen2", {}),
    "qwen2-tied-yarn": Case("qwen2", "Qwen2", TIED | YARN),
    "qwen2-sliding": Case("qwen2", "Qwen2", SLIDING),
    "qwen3": Case("qwen3", "Qwen3", HEADS),
    "qwen3-tied-yarn": Case("qwen3", "Qwen3", HEADS | TIED | YARN),
    "qwen3-linear": Case("qwen3", "Qwen3", HEADS | LINEAR),
    "gemma": Case("gemma", "Gemma", HEADS),
    "gemma-mqa": Case("gemma", "Gemma", {"head_dim": 32, "num_key_value_heads": 1}),
    "gemma2": Case("gemma2", "Gemma2", HEADS | WINDOW | {"query_pre_attn_scalar": 12}),
    "gemma2-caps": Case(
        "gemma2", "Gemma2",
        HEADS | WINDOW | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": Case("gemma3", "Gemma3Text", HEADS | WINDOW | {"num_hidden_layers": 7}),
    "gemma3-linear": Case(
        "gemma3", "Gemma3Text", HEADS | WINDOW | GEMMA3_ROPE | {"num_hidden_layers": 6}
    ),
    "phi3": Case("phi3", "Phi3", {}),
    "phi3-window": Case("phi3", "Phi3", WINDOW | rope("default", partial_rotary_factor=0.5)),
    "phi3-long": Case("phi3", "Phi3", LONGROPE | {"original_max_position_embeddings": 32}),
    "phi3-short": Case(
        "phi3", "Phi3", LONGROPE | {"original_max_position_embeddings": 32}, n_ctx=32
    ),
    "olmo2": Case("olmo2", "Olmo2", {}),
    "olmo2-mha-yarn": Case("olmo2", "Olmo2", YARN | {"num_key_value_heads": 4}),
    "olmo3": Case("olmo2", "Olmo3", WINDOW | OLMO3_ROPE | {"num_hidden_layers": 5}),
    "granite": Case("granite", "Granite", GRANITE),
    "granite-tied": Case("granite", "Granite", GRANITE | TIED | rope("default", 1e6)),
    "smollm3": Case("smollm3", "SmolLM3", {"num_hidden_layers": 5}),
    "smollm3-yarn": Case(
        "smollm3", "SmolLM3", YARN | {"num_hidden_layers": 4, "tie_word_embeddings": False}
    ),
    "starcoder2": Case("starcoder2", "Starcoder2", {}),
    "starcoder2-window": Case(
        "starcoder2", "Starcoder2", WINDOW | {"tie_word_embeddings": False}
    ),
    "mixtral": Case("llama", "Mixtral", MOE),
    "mixtral-window-8": Case("llama", "Mixtral", MOE | WINDOW | TIED | {"num_local_experts": 8}),
    "qwen2moe": Case("qwen2moe", "Qwen2Moe", MOE | SHARED),
    "qwen2moe-norm-tied-yarn": Case(
        "qwen2moe", "Qwen2Moe", MOE | SHARED | TIED | YARN | {"norm_topk_prob": True}, seed=1
    ),
    "qwen3moe": Case("qwen3moe", "Qwen3Moe", MOE | HEADS | {"norm_topk_prob": True}),
    "qwen3moe-raw-tied": Case("qwen3moe", "Qwen3Moe", MOE | TIED | {"num_experts": 9}),
    "gpt-oss": Case("gpt-oss", "GptOss", MOE | HEADS | WINDOW | OSS_YARN),
    "gpt-oss-tied": Case(
        "gpt-oss", "GptOss",
        MOE | HEADS | TIED | rope("default") | {"sliding_window": 9, "num_hidden_layers": 4},
    ),
    "gpt2": Case("gpt2", "GPT2", GPT2),
    "gpt2-ff": Case("gpt2", "GPT2", GPT2 | {"n_inner": 72, "tie_word_embeddings": False}),
}  # fmt: skip


class Made(NamedTuple):
    name: str
    path: Path
    want: np.ndarray  # logits of `tokens`
    tokens: list[int]
    n_ctx: int | None


@pytest.fixture(scope="module", params=CASES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    case = CASES[request.param]
    options = case.options if case.kind == "GPT2" else BASE | case.options
    network = hf_models.make(case.kind, options, case.seed)
    path = tmp_path_factory.mktemp("parity") / f"{request.param}.gguf"
    hf_models.write(path, network)
    tokens = TOKENS[: case.n_ctx]
    return Made(request.param, path, hf_models.logits(network, tokens), tokens, case.n_ctx)


@pytest.mark.parametrize("cache", LIMITS)
def test_logits_match_transformers_in_float64(
    made: Made, cache: str, findings: dict[str, Finding]
) -> None:
    finding = findings.setdefault(CASES[made.name].arch, Finding())
    if made.name not in finding.configurations:
        finding.configurations.append(made.name)
    finding.converts = True  # it is a file, and opens
    with Model.open(made.path, n_threads=2) as model:
        found = ways(model, cache, made.tokens, made.n_ctx)
        errors = {way: nmse(got, made.want) for way, got in found}
        assert model.copied_weight_bytes == 0
    finding.add(cache, LIMITS[cache], errors)
    assert max(errors.values()) <= LIMITS[cache], errors


def test_a_context_beyond_the_learned_positions_is_refused(tmp_path: Path) -> None:
    path = hf_models.write(tmp_path / "m.gguf", hf_models.make("GPT2", GPT2))
    with Model.open(path) as model:
        assert model.session().n_ctx == 64
        with pytest.raises(InvalidArgumentError, match=r"n_ctx is 65, but .* 64 positions"):
            model.session(n_ctx=65)
        weights = sum(t.nbytes for t in model.weights.values())
        positions = model.weights["position_embd.weight"]
        assert weight_bytes_per_token(model) == weights - positions.nbytes + positions.row_nbytes


def test_every_architecture_has_a_case() -> None:
    assert {case.arch for case in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_page_has_what_was_found(arch: str, findings: dict[str, Finding]) -> None:
    said = page().get(arch, {})
    names = [name for name, case in CASES.items() if case.arch == arch]
    assert said.get("configurations") == ", ".join(names), f"paste the table printed: {PAGE}"
    assert [said[column] for column in ("converts", "decodes", "batches")] == ["yes"] * 3
    for cache, limit in LIMITS.items():
        figure = float(said[f"NMSE, {cache.upper()} cache"])
        found = findings[arch].errors.get(cache) if arch in findings else None
        assert figure <= limit
        assert found is None or found / 100 < figure < 100 * found  # CPUs round otherwise
