"""Every architecture in every type that there is an encoder for, against the same values in F32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamacpp.engine import Model
from llamacpp.models.registry import ARCHITECTURES
from llamacpp.quantize import MIXES, quantize_model
from tests.models.findings import PAGE, Finding, page
from tests.reference import nmse

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of architectures")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

from tests import hf_models
from tests.models.test_parity import BASE, CASES, TOKENS

TYPES = {MIXES[mix].name: mix for mix in reversed(MIXES)}  # the first mix of each
TYPES = {
    kind: TYPES[kind] for kind in dict.fromkeys(k.name for k in MIXES.values()) if kind != "F32"
}
LIMIT = 3e-4  # activations are rounded to 8 bits
WIDE: dict[str, Any] = {  # rows of 256, which all types have
    "hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
# A token gets all experts: of nearly equal ones rounding would choose another.
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 4}
GPT2 = {"n_embd": 256, "n_layer": 2, "n_head": 4, "n_inner": 256}


FIRST = {arch: next(c for c in CASES.values() if c.arch == arch) for arch in ARCHITECTURES}


def types_of(arch: str) -> list[str]:
    """The types that files of an architecture may have: MXFP4 is for experts."""
    mixes = any(name in FIRST[arch].options for name in EXPERTS)
    return [kind for kind in TYPES if kind != "MXFP4" or mixes]


@pytest.fixture(scope="module")
def floats(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The first configuration of an architecture, wide enough for all types."""
    case = FIRST[request.param]
    known = hf_models.config_names(case.kind)
    if case.kind == "GPT2":
        options = case.options | GPT2
    else:
        options = BASE | case.options | {k: v for k, v in WIDE.items() if k in known}
        options |= {k: v for k, v in EXPERTS.items() if k in case.options}
    path = tmp_path_factory.mktemp("types") / "m.gguf"
    return request.param, hf_models.write(path, hf_models.make(case.kind, options))


@pytest.mark.parametrize(
    ("floats", "kind"),
    [(arch, kind) for arch in ARCHITECTURES for kind in types_of(arch)],
    indirect=["floats"],
)
def test_quantised_models_compute_what_their_values_say(
    floats: tuple[str, Path], kind: str, tmp_path: Path, findings: dict[str, Finding]
) -> None:
    arch, source = floats
    quantised, values = tmp_path / "q.gguf", tmp_path / "f32.gguf"
    quantize_model(source, quantised, TYPES[kind])
    quantize_model(quantised, values, "F32", allow_requantize=True)
    with Model.open(quantised) as model, Model.open(values) as reference:
        assert kind in {tensor.type.name for tensor in model.weights.values()}
        assert {t.type.name for t in reference.weights.values()} == {"F32"}
        want = reference.session(cache_type="f32").eval(TOKENS, "all")
        session = model.session(cache_type="f32")
        prompt = session.eval(TOKENS, "all")
        last = session.eval([7], "all")  # decoded
        again = model.session(cache_type="f32").eval([*TOKENS, 7])
    errors = nmse(prompt, want), nmse(last, again)
    assert max(errors) <= LIMIT, errors
    findings.setdefault(arch, Finding()).types.append(kind)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_page_has_all_types(arch: str) -> None:
    said = page().get(arch, {}).get("quantised types")
    assert said == ", ".join(types_of(arch)), f"paste the table printed: {PAGE}"
