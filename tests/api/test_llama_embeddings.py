"""`Llama.embed` and `create_embedding`: encoders, and models that generate."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacpp import (
    ContextOverflowError,
    InvalidArgumentError,
    Llama,
    LlamaError,
    UnsupportedError,
)
from tests.random_encoders import N_CTX, N_EMBD, write_random_encoder

TEXTS = ["the cab", "a", "The, bad. cab"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_encoder(tmp_path_factory.mktemp("encoder") / "m.gguf")


@pytest.fixture
def encoder(path: Path) -> Iterator[Llama]:
    with Llama(path, embedding=True, verbose=False) as encoder:
        yield encoder


def test_a_text_or_several(encoder: Llama) -> None:
    vectors = encoder.embed(TEXTS)
    assert [len(vector) for vector in vectors] == [N_EMBD] * 3
    assert encoder.embed(TEXTS[1]) == vectors[1]
    want = encoder.model.embedder().embed(TEXTS, normalize=False)
    np.testing.assert_array_equal(vectors, want)
    assert isinstance(vectors[0][0], float)
    assert encoder.embed([]) == []


def test_options_of_embed(encoder: Llama) -> None:
    lengths = np.linalg.norm(encoder.embed(TEXTS, normalize=True), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    vector, count = encoder.embed(TEXTS[0], return_count=True)
    assert (vector, count) == (encoder.embed(TEXTS[0]), 6)
    assert encoder.embed(TEXTS, return_count=True)[1] == 6 + 3 + 11
    long = "the " * 99
    assert encoder.embed([long], return_count=True)[1] == N_CTX
    with pytest.raises(ContextOverflowError, match="longer than the context of 32"):
        encoder.embed(long, truncate=False)


def test_the_shape_of_openai(encoder: Llama, path: Path) -> None:
    found = encoder.create_embedding(TEXTS)
    vectors = encoder.embed(TEXTS)
    assert found == {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": vector, "index": i}
            for i, vector in enumerate(vectors)
        ],
        "model": str(path),
        "usage": {"prompt_tokens": 20, "total_tokens": 20},
    }
    one = encoder.create_embedding("a", model="tiny")
    assert (one["model"], len(one["data"])) == ("tiny", 1)


@pytest.mark.parametrize(
    ("given", "number"),
    [(-1, 1), (None, 1), (0, 0), (1, 1), (2, 2), (3, 3), ("last", 3), ("none", 0)],
)
def test_pooling_by_number_or_name(path: Path, given: Any, number: int) -> None:
    with Llama(path, pooling_type=given) as encoder:
        assert encoder.pooling_type() == number
        shape = np.shape(encoder.embed("the cab"))
        assert shape == ((6, N_EMBD) if number == 0 else (N_EMBD,))


@pytest.mark.parametrize("given", [4, 99, -2, "rank"])
def test_other_poolings_are_refused(path: Path, given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="pooling"):
        Llama(path, pooling_type=given)


def test_encoders_say_that_they_do_not_generate(encoder: Llama) -> None:
    assert encoder.n_ctx() == N_CTX
    assert encoder.n_embd() == N_EMBD
    for call in (
        lambda: encoder("the"),
        lambda: encoder.eval([1]),
        lambda: encoder.session,
        lambda: list(encoder.generate([1])),
        encoder.reset,
    ):
        with pytest.raises(UnsupportedError, match=r"bert is an encoder.*Llama\.embed"):
            call()  # type: ignore[no-untyped-call]


def test_models_that_generate_embed_too(talker: Path) -> None:
    with Llama(talker, n_ctx=64, n_batch=16) as llama:
        assert llama.pooling_type() == 3
        vectors = llama.embed(["the other", "day"])
        assert np.shape(vectors) == (2, 64)
        before = llama("the other", max_tokens=4, temperature=0.0)["choices"]
        assert llama.embed("day") == vectors[1]
        assert llama("the other", max_tokens=4, temperature=0.0)["choices"] == before
        assert llama.embed("the other " * 99, return_count=True)[1] == 64


def test_closed_and_pickled(path: Path) -> None:
    encoder = Llama(path, pooling_type="cls")
    vector = encoder.embed("a")
    with pickle.loads(pickle.dumps(encoder)) as again:
        assert again.embed("a") == vector
    encoder.close()
    with pytest.raises(LlamaError, match="closed"):
        encoder.embed("a")


def test_every_error_is_a_runtime_error(encoder: Llama) -> None:
    """As llama-cpp-python's users may expect."""
    with pytest.raises(RuntimeError):
        encoder("the")
    assert issubclass(LlamaError, RuntimeError)
