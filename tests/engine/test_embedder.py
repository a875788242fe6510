"""Embedders: texts and tokens, batches, pooling, lengths, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp.engine import Model, loading
from llamacpp.engine.embedder import Embedder, _normalised
from llamacpp.errors import (
    ContextOverflowError,
    InvalidArgumentError,
    ModelFileError,
    SessionBusyError,
)
from tests.random_encoders import CLS, N_CTX, N_EMBD, SEP, TOKENS, write_random_encoder
from tests.random_models import write_random_model

RNG = np.random.default_rng(2)
TEXTS = [RNG.integers(5, len(TOKENS), n).tolist() for n in (3, 32, 1, 20, 7, 7, 12, 31, 2)]


@pytest.fixture(scope="module", params=["bert", "nomic-bert"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    return write_random_encoder(folder / "m.gguf", arch=request.param)


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path, n_threads=2) as model:
        yield model


@pytest.fixture
def embedder(model: Model) -> Embedder:
    return model.embedder()


def test_a_text_is_its_tokens_between_two_special_ones(embedder: Embedder) -> None:
    text = "The, cab."
    ids = [CLS, *map(TOKENS.index, ("\u2581the", "\u2581,", "\u2581c", "a", "b", "\u2581.")), SEP]
    assert embedder.tokens(text).tolist() == ids
    got, want = embedder.embed([text, ids])
    np.testing.assert_array_equal(got, want)
    assert (got.dtype, got.shape, embedder.n_embd) == (np.float32, (N_EMBD,), N_EMBD)


def test_neighbours_and_their_order_make_no_difference(model: Model) -> None:
    alone = [model.embedder().embed([text])[0] for text in TEXTS]
    for n_batch in (1, 16, 40, 512):
        embedder = model.embedder(n_batch=n_batch)
        for order in (range(len(TEXTS)), RNG.permutation(len(TEXTS))):
            got = embedder.embed([TEXTS[i] for i in order])
            for i, vector in zip(order, got, strict=True):
                np.testing.assert_array_equal(vector, alone[i])
    assert model.embedder().embed([]) == []
    many = model.embedder().embed(TEXTS * 20)
    np.testing.assert_array_equal(many, alone * 20)


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_0, Type.F16])
@pytest.mark.parametrize("arch", ["bert", "nomic-bert"])
def test_weights_of_other_types_mean_the_same(tmp_path: Path, kind: Type, arch: str) -> None:
    """Beside the same weights as F32: what is lost is in the 8 bits of activations."""
    path = write_random_encoder(tmp_path / "q.gguf", kind, arch=arch)
    reader, plain = gguf.GGUFReader(path), gguf.GGUFWriter(tmp_path / "f.gguf", arch)
    for name, field in reader.fields.items():
        if name.startswith(arch):
            plain.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        plain.add_tensor(tensor.name, data)
    plain.write_header_to_file()
    plain.write_kv_data_to_file()
    plain.write_tensors_to_file()
    plain.close()
    with Model.open(path) as model, Model.open(tmp_path / "f.gguf") as reference:
        got, want = (m.embedder().embed(TEXTS) for m in (model, reference))
        assert model.copied_weight_bytes == 0
    limit = 1e-5 if kind == Type.F16 else 0.05
    assert max(np.linalg.norm(g - w) for g, w in zip(got, want, strict=True)) < limit


def test_poolings_agree_with_the_vectors_of_tokens(model: Model) -> None:
    states = model.embedder(pooling="none").embed(TEXTS, normalize=False)
    assert [s.shape for s in states] == [(len(text), N_EMBD) for text in TEXTS]
    wanted = {
        "mean": [s.mean(0) for s in states],
        "cls": [s[0] for s in states],
        "last": [s[-1] for s in states],
    }
    for pooling, want in wanted.items():
        got = model.embedder(pooling=pooling).embed(TEXTS, normalize=False)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
        lengths = np.linalg.norm(model.embedder(pooling=pooling).embed(TEXTS), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    for vectors in model.embedder(pooling="none").embed(TEXTS):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_zero_stays_zero() -> None:
    vectors = np.array([[0, 0], [3, 4]], np.float32)
    np.testing.assert_array_equal(_normalised(vectors), np.array([[0, 0], [0.6, 0.8]], np.float32))


def test_texts_that_are_too_long_are_refused_or_cut(embedder: Embedder) -> None:
    assert embedder.n_ctx == N_CTX
    text = "the " * 40
    with pytest.raises(ContextOverflowError, match=r"42 tokens .* context of 32: shorten it"):
        embedder.embed(["a", text])
    the = TOKENS.index("\u2581the")
    got, want = embedder.embed([text, [CLS, *[the] * (N_CTX - 2), SEP]], truncate=True)
    np.testing.assert_array_equal(got, want)
    got, want = embedder.embed([[the] * 50, [the] * N_CTX], truncate=True)
    np.testing.assert_array_equal(got, want)


def test_a_shorter_context_counts(model: Model) -> None:
    embedder = model.embedder(8)
    assert len(embedder.tokens("the " * 40, truncate=True)) == 8
    np.testing.assert_array_equal(
        embedder.embed([TEXTS[0]]), model.embedder(n_batch=4).embed([TEXTS[0]])
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", "give a list of texts"),
        ([[]], "without tokens"),
        ([[3, len(TOKENS)]], f"token {len(TOKENS)} is outside the vocabulary"),
        ([[3, -1]], "token -1 is outside"),
        ([[2**40]], "must fit into 32 bits"),
        ([3], "tokens must be a flat sequence"),
    ],
)
def test_what_is_no_text_is_refused(embedder: Embedder, texts: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        embedder.embed(texts)


def test_options_out_of_range(model: Model) -> None:
    for options in ({"n_ctx": 0}, {"n_batch": 0}, {"n_threads": 0}):
        with pytest.raises(InvalidArgumentError, match="must be"):
            model.embedder(**options).embed([[5]])
    with pytest.raises(InvalidArgumentError, match="no pooling 'max'; kinds: none, mean, cls"):
        model.embedder(pooling="max")


def test_without_a_vocabulary_token_ids_work(tmp_path: Path) -> None:
    with Model.open(write_random_encoder(tmp_path / "m.gguf", vocabulary=False)) as model:
        embedder = model.embedder()
        assert embedder.embed([[2, 7, 3]])[0].shape == (N_EMBD,)
        with pytest.raises(InvalidArgumentError, match="no tokenizer: give token ids"):
            embedder.embed(["a"])


def test_a_second_user_is_told(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """From within: as a second thread would."""
    monkeypatch.setattr(embedder.file, "check_unchanged", lambda: embedder.embed(TEXTS))
    with pytest.raises(SessionBusyError, match="one per thread"):
        embedder.embed(TEXTS)
    monkeypatch.undo()
    assert len(embedder.embed(TEXTS)) == len(TEXTS)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = write_random_encoder(tmp_path / "m.gguf")
    with Model.open(path) as model:
        embedder = model.embedder()
        path.write_bytes(path.read_bytes() + bytes(32))
        with pytest.raises(ModelFileError, match="changed"):
            embedder.embed(TEXTS)


def test_encoders_larger_than_memory(
    path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "USABLE", 1.0)
    monkeypatch.setattr(loading, "_private", lambda: 0)
    monkeypatch.setattr(loading, "_session", lambda config, n_ctx: 0)
    layers = [t for n, t in model.weights.items() if n.startswith("blk.") and len(t.shape) == 2]
    slot = -(-max(t.nbytes for t in layers) // 4096) * 4096 + 4096
    total = sum(t.nbytes for t in layers)
    limit = model.plan.kept_bytes - total + 4 * slot + total // 4
    with Model.open(path, memory_limit=limit) as limited:
        assert limited.plan.streamed
        got = limited.embedder().embed(TEXTS)
    np.testing.assert_array_equal(got, model.embedder().embed(TEXTS))


def test_decoders_embed_beside_their_sessions(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.F32, n_vocab=70, n_ctx=64)
    with Model.open(path) as model:
        want = model.session(cache_type="f32").eval(TEXTS[3])
        (got,) = model.embedder(pooling="last").embed([TEXTS[3]], normalize=False)
        output = model.weights["output.weight"]
        matrix = np.frombuffer(output.data, np.float32).reshape(70, -1)
        np.testing.assert_allclose(matrix @ got, want[0], rtol=0, atol=2e-5)


def test_the_memory_grows_with_the_longest_text(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.F32, n_vocab=70, n_ctx=2048)
    long = RNG.integers(0, 70, 1500).tolist()
    with Model.open(path) as model:
        embedder = model.embedder(pooling="mean", n_batch=8)
        before = embedder.embed([TEXTS[1]])
        assert embedder.embed([long])[0].shape == (256,)
        np.testing.assert_array_equal(embedder.embed([TEXTS[1]]), before)
