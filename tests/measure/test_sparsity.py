"""How few terms carry the work: against float64 NumPy, and against what must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import InvalidArgumentError, Model, UnsupportedError
from llamacpp.measure import sparsity
from llamacpp.measure.sparsity import LEVELS, measure_sparsity
from llamacpp.measure.term_masks import smallest
from tests.random_models import write_random_model
from tests.reference import ReferenceModel

TOKENS = [int(t) for t in np.random.default_rng(3).integers(0, 300, 40)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("sparsity") / "f32.gguf", Type.F32)


def fewest(row: list[float], level: float) -> list[bool]:
    """The definition: take the largest until they hold so much."""
    keep, held = [False] * len(row), 0.0
    for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
        if held >= level * sum(row):
            break
        keep[i] = True
        held += row[i]
    return keep


def test_the_fewest_terms_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 5, (50, 9)).astype(float)  # with ties and zeros, in exact numbers
    rows[0] = 0.0
    for level in (0.25, 0.5, 1.0):
        kept = smallest(rows, level)
        assert kept.tolist() == [fewest(row, level) for row in rows.tolist()]


class Recorder(ReferenceModel):
    """Keeps the energy of every term, from its definition."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.energy: dict[tuple[int, str], np.ndarray] = {}

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        weights = self.w[name + ".weight"]
        layer = name.split(".")[1] if "." in name else ""
        if name.endswith("ffn_down"):
            terms = x[:, None, :] * weights  # (T, n_embd, n_ff): each neuron's own contribution
            self.energy[int(layer), "ffn"] = (terms**2).sum(axis=1)
        if name.endswith("attn_output"):
            heads = x.reshape(len(x), self.n_head, -1)
            slices = weights.reshape(len(weights), self.n_head, -1)
            self.energy[int(layer), "heads"] = (np.einsum("thd,rhd->thr", heads, slices) ** 2).sum(
                axis=2
            )
        return super().linear(x, name)


def test_shares_are_those_of_numpy(plain: Path) -> None:
    reference = Recorder(plain)
    reference.logits(TOKENS)
    with Model.open(plain, n_threads=2) as model:
        found = measure_sparsity(model, TOKENS, cache_type="f32")
    assert (found.n_tokens, found.n_windows) == (len(TOKENS), 1)
    assert len(found.layers) == 2 * 2 * len(LEVELS)
    for row in found.layers:
        energy = reference.energy[row.layer, row.part]
        dynamic = np.mean([fewest(list(e), row.level) for e in energy])
        static = np.mean(fewest(list((energy / energy.sum(1, keepdims=True)).sum(0)), row.level))
        # A sum that falls on the border itself may go either way, by a term.
        assert row.dynamic == pytest.approx(dynamic, abs=2 / energy.size)
        assert row.static == pytest.approx(static, abs=1.5 / energy.shape[1])


def test_what_is_left_out_matters_as_it_should(plain: Path) -> None:
    with Model.open(plain, n_threads=2) as model:
        found = measure_sparsity(model, TOKENS, window=16)
    assert found.n_windows == 3
    assert found.n_tokens == len(TOKENS)
    by_case = {(e.part, e.level, e.choice): e for e in found.effects}
    assert len(by_case) == len(found.effects) == 12
    for part in ("ffn", "heads"):
        for choice in ("dynamic", "static"):
            most, nearly_all = (by_case[part, level, choice] for level in LEVELS)
            assert 0 < most.kept <= nearly_all.kept <= 1
            assert most.kl >= nearly_all.kl >= 0
            assert most.saved is not None
            assert 0 <= most.saved < 1
        for level in LEVELS:  # the same number of terms, chosen otherwise
            shares = [r.dynamic for r in found.layers if (r.part, r.level) == (part, level)]
            assert by_case[part, level, "random"].kept == pytest.approx(np.mean(shares), abs=1e-12)
            # By hand: all matrices are F32, so that bytes are in proportion to weights.
            n_embd, n_ff, d = 256, 512, 64
            owned = {"ffn": 3 * n_embd * n_ff, "heads": 2 * n_embd * 4 * d}[part]
            last = {"ffn": n_embd * n_ff, "heads": n_embd * 4 * d}[part]
            total = 2 * (3 * n_embd * n_ff + 2 * n_embd * (4 + 2) * d + 2 * n_embd)
            total += 300 * n_embd + n_embd + n_embd  # output, its norm, a row of the embedding
            late, once = by_case[part, level, "dynamic"], by_case[part, level, "static"]
            assert late.saved == pytest.approx(2 * (1 - late.kept) * last / total, rel=1e-3)
            if part == "ffn":
                assert once.saved == pytest.approx(2 * (1 - once.kept) * owned / total, rel=1e-3)
    # The choice is worth something: any other neurons do worse.
    assert by_case["ffn", 0.9, "random"].kl > 2 * by_case["ffn", 0.9, "dynamic"].kl
    for row in found.layers:
        assert row.dynamic <= row.static or row.part == "heads"


def test_with_all_terms_kept_nothing_changes(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparsity, "LEVELS", (1.0,))
    with Model.open(plain, n_threads=1) as model:
        found = measure_sparsity(model, TOKENS)
    for effect in found.effects:
        # The last term may round to nothing beside all others; then it does not count.
        assert effect.kept > 0.95
        assert effect.kl == pytest.approx(0.0, abs=1e-6)
        assert effect.top1 == 1.0


def test_leaving_out_a_static_choice_is_what_numpy_gets(plain: Path) -> None:
    recorder = Recorder(plain)
    whole = log_softmax(recorder.logits(TOKENS))
    energy = {key: (e / e.sum(1, keepdims=True)).sum(0) for key, e in recorder.energy.items()}
    for part in ("ffn", "heads"):
        masked = Masked(plain, {i: smallest(energy[i, part][None], 0.9)[0] for i in (0, 1)}, part)
        rest = log_softmax(masked.logits(TOKENS))
        kl = (np.exp(whole) * (whole - rest)).sum(axis=1).mean()
        with Model.open(plain, n_threads=1) as model:
            found = measure_sparsity(model, TOKENS, cache_type="f32")
        (effect,) = (
            e for e in found.effects if (e.part, e.level, e.choice) == (part, 0.9, "static")
        )
        assert effect.kl == pytest.approx(kl, rel=1e-3)
        assert effect.top1 == np.mean(whole.argmax(axis=1) == rest.argmax(axis=1))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


class Masked(ReferenceModel):
    """Leaves out terms of one part: those that the mask (n,) of a layer does not keep."""

    def __init__(self, path: Path, masks: dict[int, np.ndarray], part: str) -> None:
        super().__init__(path)
        self.masks, self.part = masks, part

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        if self.part == "ffn" and name.endswith("ffn_down"):
            x = x * self.masks[int(name.split(".")[1])]
        if self.part == "heads" and name.endswith("attn_output"):
            mask = self.masks[int(name.split(".")[1])]
            x = x * np.repeat(mask, x.shape[1] // len(mask))
        return super().linear(x, name)


def test_a_part_without_a_gate_is_measured_too(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")
    from tests import hf_models

    options = {"vocab_size": 99, "n_positions": 64, "n_embd": 48, "n_layer": 2, "n_head": 4}
    path = hf_models.write(tmp_path / "gpt2.gguf", hf_models.make("GPT2", options))
    with Model.open(path, n_threads=1) as model:
        found = measure_sparsity(model, [t % 99 for t in TOKENS], window=64)
    assert all(0 < row.dynamic <= row.static <= 1 for row in found.layers if row.part == "ffn")


def test_layers_without_these_matrices_are_refused(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {k: v for k, v in model.network.weights.items() if k != "blk.1.ffn_down.weight"}
    monkeypatch.setattr(model.network, "weights", kept)
    with pytest.raises(UnsupportedError, match="layer 1 of this model has no ffn_down"):
        measure_sparsity(model, TOKENS)


def test_progress_comes_to_its_end(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    measure_sparsity(model, TOKENS, window=20, progress=lambda *at: seen.append(at))
    total = 2 * (2 + 12)
    assert seen == [(i + 1, total) for i in range(total)]


def test_what_cannot_be_measured_is_refused(model: Model) -> None:
    with pytest.raises(InvalidArgumentError, match="1 tokens; 2 are the least"):
        measure_sparsity(model, [1])
    for window in (1, 257):
        with pytest.raises(InvalidArgumentError, match=f"from 2 to 256 tokens, not {window}"):
            measure_sparsity(model, TOKENS, window=window)
    with pytest.raises(InvalidArgumentError, match="a token is outside"):
        measure_sparsity(model, [1, 300])
