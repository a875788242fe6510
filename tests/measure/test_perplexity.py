"""Perplexity and divergence, against their definitions in float64 NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import InvalidArgumentError, Model
from llamacpp.measure.perplexity import measure_perplexity
from tests.random_models import write_random_model
from tests.reference import ReferenceModel
from tests.small_models import talker_vocabulary, write_talker

N_CTX = 16
TOKENS = [int(t) for t in np.random.default_rng(5).integers(0, 300, 3 * N_CTX + 7)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("perplexity") / "f32.gguf", Type.F32)


def log_probs(path: Path, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """ln p (R, n_vocab) of all that is scored, and the tokens that follow (R,)."""
    reference, rows, targets = ReferenceModel(path), [], []
    for start in range(0, len(tokens) - N_CTX + 1, N_CTX):
        window = tokens[start : start + N_CTX]
        logits = reference.logits(window)
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        rows.append(logits[N_CTX // 2 : N_CTX - 1])
        targets += window[N_CTX // 2 + 1 :]
    return np.concatenate(rows), np.array(targets)


def test_perplexity_is_that_of_the_definition(plain: Path) -> None:
    logs, targets = log_probs(plain, TOKENS)
    surprise = -logs[np.arange(len(targets)), targets]
    with Model.open(plain, n_threads=2) as model:
        found = measure_perplexity(model, TOKENS, n_ctx=N_CTX, cache_type="f32")
    assert (found.n_ctx, found.n_windows, found.n_scored) == (N_CTX, 3, len(targets))
    assert found.ppl == pytest.approx(np.exp(surprise.mean()), rel=1e-5)
    error = found.ppl * surprise.std() / np.sqrt(len(surprise) - 1)
    assert found.ppl_error == pytest.approx(error, rel=1e-4)
    assert found.divergence is None


def test_divergence_is_that_of_the_definition(plain: Path, tmp_path: Path) -> None:
    other = write_random_model(tmp_path / "other.gguf", Type.F32, seed=1)
    p, targets = log_probs(plain, TOKENS)
    q, _ = log_probs(other, TOKENS)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    at = np.arange(len(targets)), targets
    delta = np.exp(q[at]) - np.exp(p[at])
    with Model.open(other, n_threads=1) as model, Model.open(plain, n_threads=1) as base:
        found = measure_perplexity(model, TOKENS, n_ctx=N_CTX, base=base, cache_type="f32")
    d = found.divergence
    assert d is not None
    assert d.base_ppl == pytest.approx(np.exp(-p[at].mean()), rel=1e-5)
    assert d.kl == pytest.approx(kl.mean(), rel=1e-4)
    assert d.kl_error == pytest.approx(kl.std(ddof=1) / np.sqrt(len(kl)), rel=1e-3)
    assert d.kl_median == pytest.approx(np.median(kl), rel=1e-4)
    assert d.kl_max == pytest.approx(kl.max(), rel=1e-4)
    assert d.same_top == np.mean(p.argmax(axis=1) == q.argmax(axis=1))
    assert d.delta_p == pytest.approx(delta.mean(), abs=1e-7)
    assert d.delta_p_rms == pytest.approx(np.sqrt((delta**2).mean()), rel=1e-4)


def test_a_model_does_not_diverge_from_itself(plain: Path) -> None:
    with Model.open(plain, n_threads=1) as model:
        found = measure_perplexity(model, TOKENS, n_ctx=N_CTX, base=model)
    d = found.divergence
    assert d is not None
    assert (d.kl, d.kl_max, d.same_top, d.delta_p_rms) == (0.0, 0.0, 1.0, 0.0)
    assert d.base_ppl == found.ppl


def test_each_window_begins_with_bos_where_the_vocabulary_wants_it(tmp_path: Path) -> None:
    with Model.open(write_talker(tmp_path / "talker.gguf"), n_threads=1) as model:
        tokenizer = model.tokenizer
        assert tokenizer is not None
        assert tokenizer.add_bos
        tokens = tokenizer.encode("the other day " * 20)
        changed = list(tokens)
        changed[N_CTX] = tokens[N_CTX] + 1  # replaced by BOS: makes no difference
        found = [measure_perplexity(model, t, n_ctx=N_CTX).ppl for t in (tokens, changed)]
    assert found[0] == found[1]


def test_progress_tells_of_every_window(plain: Path) -> None:
    seen: list[tuple[int, int, float]] = []
    with Model.open(plain, n_threads=1) as model:
        found = measure_perplexity(model, TOKENS, n_ctx=N_CTX, progress=lambda *at: seen.append(at))
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1][2] == found.ppl


def test_what_cannot_be_scored_is_refused(plain: Path, tmp_path: Path) -> None:
    small = write_random_model(tmp_path / "small.gguf", Type.F32, n_vocab=40)
    with Model.open(plain) as model, Model.open(small) as other:
        with pytest.raises(InvalidArgumentError, match="31 tokens; two windows of 16"):
            measure_perplexity(model, TOKENS[:31], n_ctx=N_CTX)
        for n_ctx in (3, 257):
            with pytest.raises(InvalidArgumentError, match=f"from 4 to 256, not {n_ctx}"):
                measure_perplexity(model, TOKENS, n_ctx=n_ctx)
        with pytest.raises(InvalidArgumentError, match="300 and 40 tokens"):
            measure_perplexity(model, TOKENS, n_ctx=N_CTX, base=other)


def test_a_base_with_other_tokens_is_refused(tmp_path: Path) -> None:
    vocabulary = talker_vocabulary()
    tokens = list(vocabulary["ggml.tokens"])  # type: ignore[arg-type]
    tokens[20], tokens[21] = tokens[21], tokens[20]
    text = [token % len(tokens) for token in TOKENS]
    options = {"n_embd": 64, "n_head": 2, "n_kv_head": 1, "head_dim": 32}
    swapped = write_random_model(
        tmp_path / "swapped.gguf", Type.F32, vocabulary={**vocabulary, "ggml.tokens": tokens},
        **options,
    )  # fmt: skip
    bare = write_random_model(tmp_path / "bare.gguf", Type.F32, n_vocab=len(tokens), **options)
    talker = write_talker(tmp_path / "talker.gguf")
    with Model.open(talker) as model, Model.open(swapped) as other, Model.open(bare) as silent:
        with pytest.raises(InvalidArgumentError, match="vocabularies differ: token 20 is b"):
            measure_perplexity(model, text, n_ctx=N_CTX, base=other)
        # Where a file has no vocabulary there is nothing to compare.
        assert measure_perplexity(model, text, n_ctx=N_CTX, base=silent).divergence is not None
