"""Could a model be slimmer: how few of its neurons and heads carry the work on a text.

What a feed-forward part adds to the residual stream is a sum over its neurons, h_j W_down[:, j],
and what attention adds is a sum over its heads, W_o[:, head] o_head. The energy of a term is its
squared norm. Measured is how many terms hold most of the energy, and what becomes of the model's
predictions when the others are left out. That question for models with ReLU: Liu et al. 2023,
"Deja Vu" (arXiv:2310.17157); Mirzadeh et al. 2023, "ReLU Strikes Back" (arXiv:2310.04564).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import Batch, Workspace
from llamacpp.tensors import Tensor

__all__ = ["LEVELS", "Effect", "LayerShares", "Sparsity", "measure_sparsity"]

LEVELS = (0.90, 0.99)  # of the energy that the kept terms hold
WINDOW = 256  # tokens that are evaluated together, from an empty cache
ROWS = 256  # of a matrix that are in memory as float32 at a time
PARTS = {"ffn": "ffn_down", "heads": "attn_output"}  # by the matrix that the terms go through

Part = Literal["ffn", "heads"]
Choice = Literal["dynamic", "static", "random"]
Float64 = npt.NDArray[np.float64]
Keep = Callable[[int, Part, Float64], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class LayerShares:
    """Of one layer and part: the share of its terms that hold a level of the energy.

    Attributes:
        layer: its number.
        part: "ffn" (neurons) or "heads".
        level: share of the energy.
        dynamic: share of the terms, chosen anew for each token; the mean over tokens.
        static: share of the terms, chosen once for the whole text.
    """

    layer: int
    part: Part
    level: float
    dynamic: float
    static: float


@dataclass(frozen=True)
class Effect:
    """What leaving out the other terms, in all layers at once, does to the next-token predictions.

    Attributes:
        part: "ffn" or "heads".
        level: share of the energy that is kept.
        choice: "dynamic" and "static" as above; "random": as many as "dynamic", but any.
        kept: share of the terms, over all layers.
        kl: mean of KL(whole || kept), in nats.
        top1: share of the tokens after which both predict the same.
        saved: share of all weights that a token reads, which need not be read: those of the terms
            left out. A dynamic choice is made when gate and up (or the heads) are computed, and
            saves only their part of ffn_down (attn_output); a static one saves their rows of
            ffn_gate and ffn_up (attn_q) as well. None for "random".
    """

    part: Part
    level: float
    choice: Choice
    kept: float
    kl: float
    top1: float
    saved: float | None


@dataclass(frozen=True)
class Sparsity:
    """All that was found on a text of `n_tokens` tokens."""

    n_tokens: int
    n_windows: int
    layers: list[LayerShares]
    effects: list[Effect]


def measure_sparsity(
    model: Model,
    tokens: Sequence[int],
    *,
    window: int = WINDOW,
    cache_type: str = "f16",
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Sparsity:
    """Evaluate a text some times, whole and with parts left out.

    Args:
        model: what to run.
        tokens: the text; cut into windows, each evaluated on its own.
        window: tokens of one, at most the model's context.
        cache_type: of keys and values.
        seed: of the random choices.
        progress: called with the passes over a window that are done, and their number.

    Raises:
        InvalidArgumentError: fewer than two tokens, one that does not exist, or `window` is out of
            range.
        UnsupportedError: the model has no parts of this kind.
    """
    if len(tokens) < 2:
        raise InvalidArgumentError(f"the text has {len(tokens)} tokens; 2 are the least")
    if min(tokens) < 0 or max(tokens) >= model.n_vocab:
        raise InvalidArgumentError(f"a token is outside the vocabulary (0..{model.n_vocab - 1})")
    if not 2 <= window <= model.config.n_ctx_train:
        raise InvalidArgumentError(
            f"the window must be from 2 to {model.config.n_ctx_train} tokens, not {window}"
        )
    windows = [tokens[i : i + window] for i in range(0, len(tokens), window)]
    windows = [tokens for tokens in windows if len(tokens) > 1]
    runner = _Runner(model, min(window, len(tokens)), cache_type)
    cases = [(p, level, c) for p in runner.parts for level in LEVELS for c in _CHOICES]
    done, total = 0, len(windows) * (2 + len(cases))

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    census = _Census(runner)
    for text in windows:
        runner.run(text, census, logits=False)
        step()
    masks = [_mask(census, runner, p, level, c, seed) for p, level, c in cases]
    for text in windows:
        whole = _log_softmax(runner.run(text, None))
        step()
        for mask in masks:
            mask.compare(whole, _log_softmax(runner.run(text, mask)))
            step()
    n_tokens = sum(len(text) for text in windows)
    return Sparsity(n_tokens, len(windows), census.shares(), [mask.effect() for mask in masks])


_CHOICES: tuple[Choice, ...] = ("dynamic", "static", "random")


def smallest(energy: Float64, level: float) -> npt.NDArray[np.bool_]:
    """The fewest terms of each row (T, n) that hold `level` of its energy; ties by lower index."""
    order = np.argsort(-energy, axis=1, kind="stable")
    held = np.cumsum(np.take_along_axis(energy, order, axis=1), axis=1)
    before = held - np.take_along_axis(energy, order, axis=1)  # what those ahead of it hold
    keep = np.empty(energy.shape, dtype=bool)
    np.put_along_axis(keep, order, before < level * held[:, -1:], axis=1)
    return keep


# ---- running a model with a look at the terms ----------------------------------------------------


class _Runner:
    """Evaluates windows, and lets a hook see and thin out the terms of every layer."""

    def __init__(self, model: Model, window: int, cache_type: str) -> None:
        network, config = model.network, model.config
        cache = KVCache(
            n_layer=config.n_layer,
            n_seq=1,
            n_kv_head=config.n_kv_head,
            n_ctx=window,
            head_dims=(config.head_dim_k, config.head_dim_v),
            cache_type=cache_type,
        )
        self.network = network
        self.space = Workspace(network, cache, window, model.n_threads)
        self.space.blocks = [_Opened(block, i, self) for i, block in enumerate(self.space.blocks)]
        for name in PARTS.values():
            if any(f"blk.{i}.{name}.weight" not in model.weights for i in range(config.n_layer)):
                raise UnsupportedError(f"the layers of this model have no {name}: nothing to see")
        self.n_layer, self.n_head, self.head_dim = config.n_layer, config.n_head, config.head_dim_v
        self.parts: tuple[Part, ...] = ("ffn", "heads")
        self.terms: dict[Part, int] = {"ffn": config.n_ff, "heads": config.n_head}
        self.weights = model.weights
        self.hook: Keep | None = None
        self._norms = [self._column_norms(i) for i in range(config.n_layer)]
        self._grams = [self._head_grams(i) for i in range(config.n_layer)]

    def run(self, tokens: Sequence[int], hook: Keep | None, logits: bool = True) -> Float64:
        """Logits (T, n_vocab) of a window, or (0, n_vocab)."""
        n = len(tokens)
        rows = range(n) if logits else range(0)
        out = ops.Buffer(len(rows), self.network.n_vocab)
        batch = Batch(
            ops.int32("tokens", tokens), *(array("i", x) for x in (range(n), [0] * n, rows))
        )
        self.hook = hook
        self.network.forward(batch, self.space, out.ptr if logits else None, lambda: None)
        return out.array.astype(np.float64) if logits else np.empty((0, self.network.n_vocab))

    def look(self, layer: int, part: Part, n: int) -> None:
        """Show the terms of n tokens to the hook, and zero what it does not keep."""
        if self.hook is None:
            return
        if part == "ffn":
            values = self.space.hidden.array[:n]
            energy = np.square(values, dtype=np.float64) * self._norms[layer]
        else:
            values = self.space.heads.array[:n].reshape(n, self.n_head, self.head_dim)
            energy = np.einsum("thd,hde,the->th", values, self._grams[layer], values, optimize=True)
        keep = self.hook(layer, part, np.maximum(energy, 0.0))
        values[~keep] = 0.0

    def _column_norms(self, layer: int) -> Float64:
        """Squared norms (n_ff,) of the columns of W_down."""
        total = np.zeros(self.terms["ffn"])
        for rows in _rows(self.weights[f"blk.{layer}.ffn_down.weight"]):
            total += np.square(rows, dtype=np.float64).sum(axis=0)
        return total

    def _head_grams(self, layer: int) -> Float64:
        """W_h^T W_h (n_head, d, d) of the slices of W_o: the energy is o_h^T W_h^T W_h o_h."""
        total = np.zeros((self.n_head, self.head_dim, self.head_dim))
        for rows in _rows(self.weights[f"blk.{layer}.attn_output.weight"]):
            slices = rows.reshape(len(rows), self.n_head, self.head_dim).astype(np.float64)
            total += np.einsum("rhd,rhe->hde", slices, slices, optimize=True)
        return total


class _Opened(ops.Block):
    """A block that shows its terms before the matrix that they go through."""

    def __init__(self, block: ops.Block, layer: int, runner: _Runner) -> None:
        super().__init__()
        self._block, self._layer, self._runner = block, layer, runner
        self.names, self.tensors = block.names, block.tensors
        stems = [name.removesuffix(".weight").rpartition(".")[2] for name in block.names]
        by_matrix: dict[str, Part] = {"ffn_down": "ffn", "attn_output": "heads"}
        self._parts = [by_matrix.get(stem) for stem in stems]

    def run(self, batch: Any, work: ops.Work) -> None:
        """As `Block.run`."""
        for i in range(len(self._parts)):
            self.run_one(i, batch, work)

    def run_one(self, index: int, batch: Any, work: ops.Work) -> None:
        """As `Block.run_one`."""
        part = self._parts[index]
        if part is not None:
            self._runner.look(self._layer, part, batch.n_tokens)
        self._block.run_one(index, batch, work)


def _rows(tensor: Tensor) -> Iterator[npt.NDArray[np.float32]]:
    """The rows of a matrix as float32, some at a time."""
    k, n = tensor.shape
    matrix = ffi.new("lk_matrix *", ops.matrix(tensor))
    room = ops.Buffer(min(ROWS, n), k)
    for start in range(0, n, ROWS):
        ids = array("i", range(start, min(start + ROWS, n)))
        ops.embed(matrix, k, ffi.from_buffer("int32_t[]", ids), len(ids), room.ptr)
        yield room.array[: len(ids)]


# ---- hooks ---------------------------------------------------------------------------------------


class _Census:
    """Counts terms over a text, and leaves out none."""

    def __init__(self, runner: _Runner) -> None:
        self._runner = runner
        self._counted: dict[tuple[int, Part, float], float] = {}  # sums over tokens
        self._energy = {
            (layer, part): np.zeros(runner.terms[part])
            for layer in range(runner.n_layer)
            for part in runner.parts
        }
        self._tokens = dict.fromkeys(self._energy, 0)

    def __call__(self, layer: int, part: Part, energy: Float64) -> npt.NDArray[np.bool_]:
        for level in LEVELS:
            at = layer, part, level
            kept = smallest(energy, level).mean(axis=1).sum()
            self._counted[at] = self._counted.get(at, 0.0) + float(kept)
        total = energy.sum(axis=1, keepdims=True)  # every token counts the same
        self._energy[layer, part] += np.divide(
            energy, total, out=np.zeros_like(energy), where=total > 0
        ).sum(axis=0)
        self._tokens[layer, part] += len(energy)
        return np.ones(energy.shape, dtype=bool)

    def static(self, layer: int, part: Part, level: float) -> npt.NDArray[np.bool_]:
        """The fewest terms (n,) that hold `level` of the energy of the whole text."""
        keep: npt.NDArray[np.bool_] = smallest(self._energy[layer, part][None, :], level)[0]
        return keep

    def shares(self) -> list[LayerShares]:
        """Of every layer, part and level."""
        return [
            LayerShares(
                layer,
                part,
                level,
                counted / self._tokens[layer, part],
                float(self.static(layer, part, level).mean()),
            )
            for (layer, part, level), counted in sorted(self._counted.items())
        ]


class _Mask:
    """Leaves out terms of one part, and compares what is predicted then."""

    def __init__(
        self, keep: Keep, part: Part, level: float, choice: Choice, savings: tuple[float, float]
    ) -> None:
        self._keep, self._part, self._level, self._choice = keep, part, level, choice
        self._savings = savings
        self._kept: list[float] = []
        self._kl: list[Float64] = []
        self._same: list[npt.NDArray[np.bool_]] = []

    def __call__(self, layer: int, part: Part, energy: Float64) -> npt.NDArray[np.bool_]:
        if part != self._part:
            return np.ones(energy.shape, dtype=bool)
        keep = self._keep(layer, part, energy)
        self._kept.extend(keep.mean(axis=1))
        return keep

    def compare(self, whole: Float64, kept: Float64) -> None:
        """Take in the log-probabilities (T, n_vocab) of a window."""
        self._kl.append((np.exp(whole) * (whole - kept)).sum(axis=1))
        self._same.append(whole.argmax(axis=1) == kept.argmax(axis=1))

    def effect(self) -> Effect:
        """What was found."""
        kept = float(np.mean(self._kept))
        after, all_of_it = self._savings
        saved = {"dynamic": after, "static": all_of_it, "random": None}[self._choice]
        return Effect(
            self._part,
            self._level,
            self._choice,
            kept,
            float(np.concatenate(self._kl).mean()),
            float(np.concatenate(self._same).mean()),
            None if saved is None else (1 - kept) * saved,
        )


def _mask(
    census: _Census, runner: _Runner, part: Part, level: float, choice: Choice, seed: int
) -> _Mask:
    static = [census.static(layer, part, level) for layer in range(runner.n_layer)]
    rng = np.random.default_rng(seed)

    def dynamic_terms(layer: int, part: Part, energy: Float64) -> npt.NDArray[np.bool_]:
        return smallest(energy, level)

    def static_terms(layer: int, part: Part, energy: Float64) -> npt.NDArray[np.bool_]:
        return np.broadcast_to(static[layer], energy.shape)

    def random_terms(layer: int, part: Part, energy: Float64) -> npt.NDArray[np.bool_]:
        return rng.permuted(smallest(energy, level), axis=1)

    keep: dict[Choice, Keep] = {
        "dynamic": dynamic_terms,
        "static": static_terms,
        "random": random_terms,
    }
    return _Mask(keep[choice], part, level, choice, _shares_of_weights(runner, part))


def _shares_of_weights(runner: _Runner, part: Part) -> tuple[float, float]:
    """Share of the weights a token reads that its last matrix is, and all that its terms own."""
    last = PARTS[part]
    owned = {"ffn": ("ffn_gate", "ffn_up", "ffn_down"), "heads": ("attn_q", "attn_output")}[part]
    total = sum(tensor.nbytes for op in runner.network.linears() for tensor in op.tensors)

    def nbytes(names: Sequence[str]) -> int:
        wanted = {f"blk.{i}.{name}.weight" for i in range(runner.n_layer) for name in names}
        return sum(t.nbytes for name, t in runner.weights.items() if name in wanted)

    return nbytes((last,)) / total, nbytes(owned) / total


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
