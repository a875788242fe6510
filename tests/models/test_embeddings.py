"""Embeddings against the transformers library in float64: encoders, and decoders' hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest

from llamacpp.engine import Model
from llamacpp.errors import FormatError, InvalidArgumentError, UnsupportedError
from llamacpp.models.registry import ENCODERS

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of architectures")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

from tests import hf_encoders, hf_models

LIMIT = 1e-6
POOLINGS = ("none", "mean", "cls", "last")
RNG = np.random.default_rng(3)
TEXTS = [RNG.integers(1, 99, n).tolist() for n in (5, 1, 40, 64, 17, 12, 9, 3, 64)]


class Case(NamedTuple):
    """An architecture's name, transformers' name of it, and what differs from BASE."""

    arch: str
    kind: str
    options: dict[str, Any]
    head: str = "Model"


CASES = {
    "bert": Case("bert", "Bert", {}),
    "bert-masked": Case("bert", "Bert", {"layer_norm_eps": 1e-5}, head="ForMaskedLM"),
    "bert-one-type": Case("bert", "Bert", {"type_vocab_size": 1, "num_attention_heads": 3}),
    "nomic-bert": Case("nomic-bert", "NomicBert", {}),
    "nomic-bert-masked": Case(
        "nomic-bert", "NomicBert",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, head="ForMaskedLM",
    ),
}  # fmt: skip


class Made(NamedTuple):
    path: Path
    want: list[np.ndarray]  # hidden states of TEXTS


@pytest.fixture(scope="module", params=CASES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    case = CASES[request.param]
    network = hf_encoders.make(case.kind, hf_encoders.BASE | case.options, case.head)
    path = tmp_path_factory.mktemp("encoders") / f"{request.param}.gguf"
    hf_models.write(path, network)
    return Made(path, [hf_encoders.hidden(network, tokens) for tokens in TEXTS])


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("pooling", POOLINGS)
def test_encoders_say_what_transformers_says(made: Made, pooling: str) -> None:
    want = [hf_encoders.pooled(states, pooling) for states in made.want]
    with Model.open(made.path, n_threads=2) as model:
        for n_batch in (1, 70, 512):
            got = model.embedder(pooling=pooling, n_batch=n_batch).embed(TEXTS, normalize=False)
            errors = list(map(hf_encoders.error, got, want))
            assert max(errors) <= LIMIT, errors
        assert model.copied_weight_bytes == 0


def test_vectors_have_length_one_if_asked(made: Made) -> None:
    want = [states.mean(0) / np.linalg.norm(states.mean(0)) for states in made.want]
    with Model.open(made.path) as model:
        got = model.embedder().embed(TEXTS)
    assert max(map(hf_encoders.error, got, want)) <= LIMIT


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["Qwen2", "GPT2"])
def test_decoders_give_their_last_hidden_states(tmp_path: Path, kind: str, pooling: str) -> None:
    options: dict[str, Any] = {
        "vocab_size": 99, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    if kind == "GPT2":
        options = {"vocab_size": 99, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4}
    network = hf_models.make(kind, options)
    path = hf_models.write(tmp_path / "m.gguf", network)
    want = [hf_encoders.pooled(hf_encoders.hidden(network, text), pooling) for text in TEXTS]
    with Model.open(path) as model:
        assert model.embedder().pooling == "last"
        got = model.embedder(pooling=pooling).embed(TEXTS, normalize=False)
    assert max(map(hf_encoders.error, got, want)) <= LIMIT


def test_encoders_neither_generate_nor_score(made: Made) -> None:
    with Model.open(made.path) as model:
        with pytest.raises(UnsupportedError, match=r"is an encoder, .* use embedder\(\)"):
            model.session()
        with pytest.raises(UnsupportedError, match="has no logits"):
            model.network.forward(*[None] * 4)  # type: ignore[arg-type]


def test_a_context_beyond_the_learned_positions_is_refused(made: Made) -> None:
    with Model.open(made.path) as model:
        assert model.embedder().n_ctx == 64
        if model.config.architecture == "bert":
            with pytest.raises(InvalidArgumentError, match=r"n_ctx is 65, but .* 64 positions"):
                model.embedder(65)
        else:  # rotations go on
            assert model.embedder(65).embed([[5] * 65])[0].shape == (48,)


def changed(path: Path, target: Path, drop: str = "-", **keys: Any) -> Path:
    """A copy of a file without some tensor, with other values of some keys."""
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, arch)
    for name, field in reader.fields.items():
        if name.startswith(f"{arch}.") and name.removeprefix(f"{arch}.") not in keys:
            writer.add_key_value(name, field.contents(), field.types[0])
    for name, value in keys.items():
        kind = gguf.GGUFValueType.BOOL if isinstance(value, bool) else gguf.GGUFValueType.UINT32
        writer.add_key_value(f"{arch}.{name}", value, kind)
    for tensor in reader.tensors:
        if tensor.name != drop:
            writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def test_the_file_names_the_pooling(made: Made, tmp_path: Path) -> None:
    with Model.open(made.path) as model:
        assert model.embedder().pooling == "mean"
    for number, name in enumerate(POOLINGS):
        path = changed(made.path, tmp_path / f"{number}.gguf", pooling_type=number)
        with Model.open(path) as model:
            assert model.embedder().pooling == name
            assert model.embedder(pooling="cls").pooling == "cls"
    with Model.open(changed(made.path, tmp_path / "rank.gguf", pooling_type=4)) as model:
        with pytest.raises(UnsupportedError, match=r"pooling_type is 4, .* none, mean, cls, last"):
            model.embedder()
        assert model.embedder(pooling="mean").embed([[1, 2]])[0].shape == (48,)


def test_files_that_make_no_encoder(made: Made, tmp_path: Path) -> None:
    path = changed(made.path, tmp_path / "a.gguf", **{"attention.causal": True})
    with pytest.raises(UnsupportedError, match="with causal attention is not supported"):
        Model.open(path)
    path = changed(made.path, tmp_path / "b.gguf", drop="token_embd_norm.weight")
    with pytest.raises(FormatError, match=r"'token_embd_norm\.weight' is missing"):
        Model.open(path)
    path = changed(made.path, tmp_path / "c.gguf", drop="token_types.weight")
    with Model.open(path) as model:  # of one type, whose row is in the embedding: as it may be
        assert model.embedder().embed([[1, 2]])[0].shape == (48,)


def test_decoders_without_causal_attention_are_refused(tmp_path: Path) -> None:
    options = hf_encoders.BASE | {"num_key_value_heads": 2}
    del options["type_vocab_size"]
    path = hf_models.write(tmp_path / "m.gguf", hf_models.make("Qwen2", options))
    with pytest.raises(UnsupportedError, match="qwen2 without causal attention"):
        Model.open(changed(path, tmp_path / "n.gguf", **{"attention.causal": False}))


def test_every_encoder_has_a_case() -> None:
    assert {case.arch for case in CASES.values()} == set(ENCODERS)
