"""Importances measured: the squares of what every matrix is multiplied with, over a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp._native import check, ffi, lib
from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError
from llamacpp.models.layers import Batch, Network, Workspace
from llamacpp.quantize.importance import Importance

__all__ = ["collect_importance"]

DEFAULT_CHUNK = 512
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def collect_importance(
    model: Model,
    text: str,
    *,
    n_ctx: int | None = None,
    dataset: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Importance:
    """Evaluate a text in chunks, and add up the squares of the inputs of every layer's matrices.

    As llama.cpp's `llama-imatrix` does it: the text becomes tokens as a whole, in chunks of n_ctx;
    what is left over at the end is not used; where a text begins with a BOS token, that takes the
    place of the first of each chunk. The output matrix is left out. Each expert has sums of its
    own, over the tokens that it was given.

    Args:
        model: of floats, best the one to be quantised.
        text: the more of it, and the more like what the model will see, the better.
        n_ctx: tokens of a chunk: by default 512, or what the model was trained for if it is less.
        dataset: a name for the text, kept in the file.
        progress: called with the tokens evaluated and their total.

    Raises:
        InvalidArgumentError: the model has no tokenizer, or the text is shorter than a chunk.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise InvalidArgumentError(f"{model.file.path} has no tokenizer to read a text with")
    n = min(DEFAULT_CHUNK, model.config.n_ctx_train) if n_ctx is None else n_ctx
    if n < 2:
        raise InvalidArgumentError(f"chunks of {n} tokens are too short")
    tokens = tokenizer.encode(text)
    n_chunks = len(tokens) // n
    if not n_chunks:
        raise InvalidArgumentError(
            f"the text has {len(tokens)} tokens, less than a chunk of {n}: take a longer text"
        )
    session = model.session(n_ctx=n, n_batch=n)
    sums = _Sums()
    session.network = cast(Network, _Watched(session.network, sums))
    for i in range(n_chunks):
        chunk = list(tokens[i * n : (i + 1) * n])
        if tokenizer.add_bos:
            chunk[0] = tokens[0]
        session.reset()
        session.eval(chunk, logits=None)
        progress((i + 1) * n, n_chunks * n)
    return Importance(
        {name: total.astype(np.float32) for name, total in sums.totals.items()},
        {name: count.astype(np.float32) for name, count in sums.counts.items()},
        [dataset],
        n_chunks,
        n,
    )


class _Sums:
    """Sums of squares (matrices, columns) and counts (matrices,) by the name of a weight."""

    def __init__(self) -> None:
        self.totals: dict[str, Float64Array] = {}
        self.counts: dict[str, Float64Array] = {}

    def add(self, names: list[str], x: Float32Array, ends: list[int]) -> None:
        """Count inputs (rows, columns) that these weights share.

        Rows up to ends[0] are those of the first matrix, up to ends[1] of the second, and so on.
        """
        starts = [0, *ends[:-1]]
        groups = [x[start:end] for start, end in zip(starts, ends, strict=True)]
        squares = np.stack([np.square(rows, dtype=np.float64).sum(axis=0) for rows in groups])
        counts = np.array([len(rows) for rows in groups], np.float64)
        for name in names:
            self.totals[name] = self.totals.get(name, 0.0) + squares
            self.counts[name] = self.counts.get(name, 0.0) + counts


class _Watched:
    """A network whose blocks run their ops one by one, and look at inputs before each."""

    def __init__(self, network: Network, sums: _Sums) -> None:
        self._network, self._sums = network, sums

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def forward(
        self, batch: Batch, space: Workspace, logits: Any, checkpoint: Callable[[], None]
    ) -> None:
        """As `Network.forward`."""
        blocks = space.blocks
        space.blocks = [_WatchedBlock(block, self._sums) for block in blocks]
        try:
            self._network.forward(batch, space, logits, checkpoint)
        finally:
            space.blocks = blocks


class _WatchedBlock(ops.Block):
    """A block that runs its ops one by one."""

    def __init__(self, block: ops.Block, sums: _Sums) -> None:
        super().__init__()
        self._block, self._sums = block, sums

    def run(self, batch: Any, work: ops.Work) -> None:
        """As `Block.run`."""
        for i in range(len(self._block.names)):
            self.run_one(i, batch, work)

    def run_one(self, index: int, batch: Any, work: ops.Work) -> None:
        """As `Block.run_one`."""
        experts = self._block.experts_step(index)
        if experts is not None:
            self._run_experts(experts, index, batch.n_tokens, work)
            return
        step, n = self._block.linear_step(index), batch.n_tokens
        if step is not None:
            names = [t.name for t in self._block.tensors[index] if len(t.shape) > 1]
            self._sums.add(names, _input(step.x, n, step.op.k, step.op.norm), [n])
        self._block.run_one(index, batch, work)

    def _run_experts(self, step: Any, index: int, n: int, work: ops.Work) -> None:
        op, seen = step.op, ffi.new("lk_experts_seen *")
        x = _input(step.x, n, op.n_embd, op.norm).copy()  # the op adds to its input
        status = lib.lk_experts_run(op, step.logits, step.x, n, work.struct, seen)
        check(status, self._block.names[index])
        n_pairs = n * op.n_used
        ends, tokens = ffi.unpack(seen.ends, op.n_expert), ffi.unpack(seen.tokens, n_pairs)
        gate, up, down = (tensor.name for tensor in self._block.tensors[index][:3])
        self._sums.add([gate, up], x[tokens], ends)
        self._sums.add([down], _rows(seen.hidden, n_pairs, op.n_ff), ends)


def _rows(address: Any, n: int, k: int) -> Float32Array:
    return np.frombuffer(ffi.buffer(address, 4 * n * k), np.float32).reshape(n, k)


def _input(address: Any, n: int, k: int, norm: Any) -> Float32Array:
    """What the matrices of a step are multiplied with (n, k): its buffer, or the norm of it.

    The op applies the norm on its way to 8 bits, and never keeps it: here it is applied again.
    """
    x = _rows(address, n, k)
    if norm.kind == lib.LK_NORM_NONE:
        return x
    y = x.astype(np.float64)
    if norm.kind == lib.LK_NORM_LAYER:
        y -= y.mean(axis=1, keepdims=True)
    y /= np.sqrt(np.square(y).mean(axis=1, keepdims=True) + norm.eps)
    y *= np.frombuffer(ffi.buffer(norm.weight, 4 * k), np.float32)
    if norm.bias:
        y += np.frombuffer(ffi.buffer(norm.bias, 4 * k), np.float32)
    return y.astype(np.float32)
