"""The terms that the layers of a model add up: seen, left out, and what their weights take.

A feed-forward part adds one term for each neuron, h_j W_down[:, j], where h is what W_down is
multiplied with, whether it comes of a gate or not. Attention adds one for each head,
W_o[:, head] o_head. The energy of a term is its squared norm.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.engine import Model
from llamacpp.errors import UnsupportedError
from llamacpp.measure.work import weight_bytes_per_token
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import Batch, Workspace
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["PARTS", "Chosen", "Float64", "Hook", "Part", "TermBytes", "TermRunner"]

ROWS = 256  # of a matrix that are in memory as float32 at a time

Part = Literal["ffn", "heads"]
Float64 = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]
Hook = Callable[[int, Part, Float64], Chosen]  # layer, part, energy (T, n) -> what to keep (T, n)

PARTS: dict[Part, str] = {"ffn": "ffn_down", "heads": "attn_output"}  # what the terms go through
SOURCES: dict[Part, tuple[str, ...]] = {  # what they come from: one of these has to be there
    "ffn": ("ffn_up",),
    "heads": ("attn_q", "attn_qkv"),
}


class TermRunner:
    """Evaluates windows, and lets a hook see and thin out the terms of every layer.

    Args:
        model: what to run.
        window: the most tokens of a window.
        cache_type: of keys and values.

    Attributes:
        terms: how many each part of a layer has.

    Raises:
        UnsupportedError: the model has no parts of this kind.
    """

    def __init__(self, model: Model, window: int, cache_type: str) -> None:
        network, config = model.network, model.config
        _check_parts(model)
        cache = KVCache(
            n_layer=config.n_layer,
            n_seq=1,
            n_kv_head=config.n_kv_head,
            n_ctx=window,
            head_dims=(config.head_dim_k, config.head_dim_v),
            cache_type=cache_type,
        )
        self.n_layer = config.n_layer
        self.terms: dict[Part, int] = {"ffn": config.n_ff, "heads": config.n_head}
        self._network = network
        self._space = Workspace(network, cache, window, model.n_threads)
        self._space.blocks = [_Opened(b, i, self) for i, b in enumerate(self._space.blocks)]
        self._head_shape = config.n_head, config.head_dim_v
        self._hook: Hook | None = None
        # Of the file: weights beyond a memory limit are at their address only while they are used.
        weights, layers = map_tensors(model.file), range(config.n_layer)
        self._norms = [self._column_norms(weights[f"blk.{i}.ffn_down.weight"]) for i in layers]
        self._grams = [self._head_grams(weights[f"blk.{i}.attn_output.weight"]) for i in layers]

    def run(self, tokens: Sequence[int], hook: Hook | None, logits: bool = True) -> Float64:
        """Logits (T, n_vocab) of a window, or (0, n_vocab)."""
        n = len(tokens)
        rows = range(n) if logits else range(0)
        out = ops.Buffer(len(rows), self._network.n_vocab)
        batch = Batch(
            ops.int32("tokens", tokens), *(array("i", x) for x in (range(n), [0] * n, rows))
        )
        self._hook = hook
        self._network.forward(batch, self._space, out.ptr if logits else None, lambda: None)
        return out.array.astype(np.float64) if logits else np.empty((0, self._network.n_vocab))

    def look(self, layer: int, part: Part, n: int) -> None:
        """Show the terms of n tokens to the hook, and zero what it does not keep."""
        if self._hook is None:
            return
        if part == "ffn":
            values = self._space.hidden.array[:n]
            energy = np.square(values, dtype=np.float64) * self._norms[layer]
        else:
            values = self._space.heads.array[:n].reshape(n, *self._head_shape)
            gram = self._grams[layer]
            energy = np.einsum("thd,hde,the->th", values, gram, values, optimize=True)
        keep = self._hook(layer, part, np.maximum(energy, 0.0))
        values[~keep] = 0.0

    def _column_norms(self, down: Tensor) -> Float64:
        """Squared norms (n_ff,) of the columns of W_down."""
        total = np.zeros(self.terms["ffn"])
        for rows in _rows(down):
            total += np.square(rows, dtype=np.float64).sum(axis=0)
        return total

    def _head_grams(self, output: Tensor) -> Float64:
        """W_h^T W_h (n_head, d, d) of the slices of W_o: the energy is o_h^T W_h^T W_h o_h."""
        n_head, d = self._head_shape
        total = np.zeros((n_head, d, d))
        for rows in _rows(output):
            slices = rows.reshape(len(rows), n_head, d).astype(np.float64)
            total += np.einsum("rhd,rhe->hde", slices, slices, optimize=True)
        return total


class TermBytes:
    """Bytes of the weights that belong to single terms.

    Columns of the matrix that a term goes through are counted as their share of it. The rows of
    keys and values are those of a group of heads.

    Args:
        model: whose weights.
        part: whose terms.

    Attributes:
        total: that a token reads of all weights.
    """

    def __init__(self, model: Model, part: Part) -> None:
        c, weights = model.config, model.weights
        self.total = weight_bytes_per_token(model)
        self._column, self._row, self._shared = [], [], []
        self._group = c.n_head // c.n_kv_head if part == "heads" else 1

        def of_rows(layer: int, name: str, fused: str) -> float:
            """Of one row, and its bias, of a matrix that lies alone or in a fused one."""
            stem = f"blk.{layer}."
            stem += name if f"{stem}{name}.weight" in weights else fused
            found = (weights.get(f"{stem}.{kind}") for kind in ("weight", "bias"))
            return float(sum(t.nbytes / t.shape[-1] for t in found if t is not None))

        for i in range(c.n_layer):
            last = weights[f"blk.{i}.{PARTS[part]}.weight"]
            if part == "ffn":  # a fused ffn_up holds two rows for each neuron
                names = [f"blk.{i}.ffn_{m}.{kind}" for m in ("gate", "up")
                         for kind in ("weight", "bias")]  # fmt: skip
                owned = sum(weights[name].nbytes for name in names if name in weights)
                self._column.append(last.nbytes / c.n_ff)
                self._row.append(owned / c.n_ff)
                self._shared.append(0.0)
            else:
                q, k, v = (of_rows(i, f"attn_{m}", "attn_qkv") for m in "qkv")
                self._column.append(last.nbytes / c.n_head)
                self._row.append(c.head_dim_k * q)
                self._shared.append(c.head_dim_k * k + c.head_dim_v * v)

    def of_columns(self, layer: int, dropped: float) -> float:
        """What so many terms have in the matrix that they go through."""
        return self._column[layer] * dropped

    def of_terms(self, layer: int, keep: Chosen) -> float:
        """All that belongs to the terms (n,) that are not kept, and to no others."""
        dropped = np.count_nonzero(~keep)
        groups = np.count_nonzero(~keep.reshape(-1, self._group).any(axis=1))
        terms = dropped * (self._column[layer] + self._row[layer])
        return float(terms + groups * self._shared[layer])


class _Opened(ops.Block):
    """A block that shows its terms before the matrix that they go through."""

    def __init__(self, block: ops.Block, layer: int, runner: TermRunner) -> None:
        super().__init__()
        self._block, self._layer, self._runner = block, layer, runner
        self.names, self.tensors = block.names, block.tensors
        stems = [name.removesuffix(".weight").rpartition(".")[2] for name in block.names]
        by_matrix = {matrix: part for part, matrix in PARTS.items()}
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


def _check_parts(model: Model) -> None:
    for names in (*((name,) for name in PARTS.values()), *SOURCES.values()):
        for i in range(model.config.n_layer):
            if not any(f"blk.{i}.{name}.weight" in model.weights for name in names):
                raise UnsupportedError(
                    f"layer {i} of this model has no {' or '.join(names)}: layers of attention"
                    " and one feed-forward network are what can be measured"
                )


def _rows(tensor: Tensor) -> Iterator[npt.NDArray[np.float32]]:
    """The rows of a matrix as float32, some at a time."""
    k, n = tensor.shape
    matrix = ffi.new("lk_matrix *", ops.matrix(tensor))
    room = ops.Buffer(min(ROWS, n), k)
    for start in range(0, n, ROWS):
        ids = array("i", range(start, min(start + ROWS, n)))
        ops.embed(matrix, k, ffi.from_buffer("int32_t[]", ids), len(ids), room.ptr)
        yield room.array[: len(ids)]
