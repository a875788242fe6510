"""What the architectures share: batches, a session's working memory, the parts of a layer."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.errors import InvalidArgumentError
from llamacpp.models.cache import KVCache
from llamacpp.models.config import Config
from llamacpp.models.rope import Rope
from llamacpp.residency import Window, fetch
from llamacpp.tensors import Tensor

__all__ = ["Batch", "Embedding", "Network", "Part", "Workspace", "mixtures"]


class Batch(NamedTuple):
    """Tokens to evaluate together.

    Several sequences may be mixed. Within one sequence positions follow each other without a gap,
    first after what its cache holds; a token sees its own sequence up to its own position.
    """

    tokens: array[int]  # int32 (T,) ids
    pos: array[int]  # (T,) position in the sequence
    seq: array[int]  # (T,) sequence of the cache
    rows: array[int]  # (R,) the indices, into the above, whose logits are wanted


class Embedding:
    """The embedding matrix (n_embd, n_vocab in GGUF's order), looked up by row.

    Args:
        tensor: the matrix.
        scale: a factor of what is looked up.
        positions: (n_embd, n) what is added at each of n positions.
        types: (n_embd, n) of whose rows the first is added everywhere: texts are of one type here.
        norm: of the sum; None: none.
    """

    def __init__(
        self,
        tensor: Tensor,
        *,
        scale: float = 1.0,
        positions: Tensor | None = None,
        types: Tensor | None = None,
        norm: ops.Norm | None = None,
    ) -> None:
        self.n_embd, self.n_vocab = tensor.shape
        self._matrix = ffi.new("lk_matrix *", ops.matrix(tensor))
        self._scale = scale
        self._n_positions = positions.shape[1] if positions else None
        self._positions = ffi.new("lk_matrix *", ops.matrix(positions)) if positions else None
        self._types = ffi.new("lk_matrix *", ops.matrix(types)) if types else None
        self._norm = norm

    def check_context(self, n_ctx: int) -> None:
        """Refuse contexts that there are not enough positions for.

        Raises:
            InvalidArgumentError: the model has learned fewer.
        """
        if self._n_positions is not None and n_ctx > self._n_positions:
            raise InvalidArgumentError(
                f"n_ctx is {n_ctx}, but this model has learned {self._n_positions} positions only"
            )

    def look_up(self, batch: Batch, space: Workspace) -> None:
        """Write the rows of the tokens (T,) to space.x (T, n_embd)."""
        x, n = space.x.ptr, len(batch.tokens)
        ops.embed(self._matrix, self.n_embd, ffi.from_buffer("int32_t[]", batch.tokens), n, x)
        if self._scale != 1.0:
            ops.scale(x, n * self.n_embd, self._scale)
        if self._positions is not None:
            self._add(self._positions, batch.pos, space)
        if self._types is not None:
            self._add(self._types, array("i", bytes(4 * n)), space)
        if self._norm is not None:
            ops.normalise(self._norm, x, x, n, space.work)

    def _add(self, matrix: Any, rows: array[int], space: Workspace) -> None:
        """Add the rows (T,) of another matrix."""
        n = len(rows)
        added = space.branch.ptr
        ops.embed(matrix, self.n_embd, ffi.from_buffer("int32_t[]", rows), n, added)
        ops.add(space.x.ptr, added, n * self.n_embd)


class Part(Protocol):
    """Half of a layer, which adds to the residual stream: attention, or a feed-forward network."""

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        ...

    def add_to(self, block: ops.Block, space: Workspace, caches: tuple[Any, Any]) -> None:
        """Add its ops, on the memory of one session; `caches` are the layer's keys and values."""
        ...


class Network(Protocol):
    """An architecture with its weights: immutable, used by any number of threads."""

    config: Config
    n_vocab: int
    weights: dict[str, Tensor]
    embedding: Embedding

    @property
    def output(self) -> ops.Linear | None:
        """What makes logits; None: an encoder, which has hidden states only."""
        ...

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """Evaluate a batch of at most `space.n_batch` tokens, extending the cache of `space`.

        Args:
            batch: the tokens, and the rows whose logits are wanted.
            space: the working memory of the calling session.
            logits: ``float *`` (R, n_vocab), filled in the order of `batch.rows`; None for R = 0.
            checkpoint: called before each layer; what it raises ends the evaluation.

        Raises:
            UnsupportedError: this is an encoder.
        """
        ...

    def hidden(
        self, batch: Batch, space: Workspace, out: Any, checkpoint: Callable[[], None]
    ) -> None:
        """Do as `forward`, for hidden states: ``float *`` out (R, n_embd), after the last norm."""
        ...

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """The layers, as they run on the memory of one session."""
        ...

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        ...

    window: Window | None  # that some of the weights pass through


def mixtures(network: Network) -> Iterator[ops.Experts]:
    """The mixtures of experts, of whose weights a token reads a part."""
    return (product for product in network.products() if isinstance(product, ops.Experts))


@dataclass
class Workspace:
    """A session's own memory: its KV cache and the activations of up to `n_batch` tokens."""

    cache: KVCache
    n_batch: int

    def __init__(self, network: Network, cache: KVCache, n_batch: int, n_threads: int) -> None:
        config = network.config
        self.cache = cache
        self.n_batch = n_batch
        network.embedding.check_context(cache.n_ctx)
        self.x = ops.Buffer(n_batch, config.n_embd)  # the residual stream
        self.q = ops.Buffer(n_batch, config.n_head * config.head_dim_k)
        self.k = ops.Buffer(n_batch, config.n_kv_head * config.head_dim_k)
        self.v = ops.Buffer(n_batch, config.n_kv_head * config.head_dim_v)
        self.heads = ops.Buffer(n_batch, config.n_head * config.head_dim_v)
        self.hidden = ops.Buffer(n_batch, max(config.n_ff, config.n_ff_shared))
        self._n_expert = config.n_expert
        self._angles: dict[Rope, tuple[ops.Buffer, array[float]]] = {}
        self.work = ops.Work(n_threads)
        self._place = ffi.new("lk_batch *")
        self._alive: tuple[Any, ...] = ()
        self.blocks = list(network.blocks(self))
        counts = range(1, min(n_batch, 16) + 1), (n_batch,)
        for n_tokens in {n for group in counts for n in group}:
            if network.output is not None:
                self.work.reserve(network.output.scratch(n_tokens, n_threads))
            for block in self.blocks:
                self.work.reserve(block.scratch(n_tokens, n_threads))
        self.window = network.window
        passing = set(self.window.tensors.values()) if self.window else set()
        self._passing = [  # of each op of each block: how many of its weights pass the window
            [sum(tensor in passing for tensor in tensors) for tensors in block.tensors]
            for block in self.blocks
        ]
        apart = passing | {tensor for experts in mixtures(network) for tensor in experts.chosen}
        self._kept = [  # and those that have to be brought into memory once
            [[t for t in tensors if t not in apart] for tensors in block.tensors]
            for block in self.blocks
        ]

    @cached_property
    def router(self) -> ops.Buffer:
        """(n_batch, n_expert): logits of experts."""
        return ops.Buffer(self.n_batch, self._n_expert)

    @cached_property
    def gate(self) -> ops.Buffer:
        """(n_batch, 1): how much of a part counts, before the sigmoid."""
        return ops.Buffer(self.n_batch, 1)

    @cached_property
    def branch(self) -> ops.Buffer:
        """(n_batch, n_embd): what a part gives, before it is added to the residual stream."""
        return ops.Buffer(*self.x.shape)

    def angles(self, rope: Rope) -> ops.Buffer:
        """(n_batch, n_rot): cosines and sines of a rotation, as `turn` fills them."""
        if rope not in self._angles:
            frequencies = rope.frequencies(self.cache.n_ctx)
            self._angles[rope] = ops.Buffer(self.n_batch, rope.n_rot), frequencies
        return self._angles[rope][0]

    def turn(self, place: Any) -> None:
        """Fill the angles of all rotations for the positions of an ``lk_batch *``."""
        for rope, (angles, frequencies) in self._angles.items():
            ops.rope_angles(angles.ptr, place.pos, place.n_tokens, frequencies, rope.magnitude)

    def run_blocks(self, place: Any, checkpoint: Callable[[], None]) -> None:
        """Run all blocks on the tokens of an ``lk_batch *``, with a checkpoint before each."""
        if self.window is None:
            for block in self.blocks:
                checkpoint()
                block.run(place, self.work)
            return
        with self.window.sweep():
            for number, (block, counts) in enumerate(zip(self.blocks, self._passing, strict=True)):
                checkpoint()
                for i, count in enumerate(counts):
                    if self._kept:
                        fetch(self._kept[number][i])
                    self.window.take(count)
                    block.run_one(i, place, self.work)
                    self.window.give_back(count)
        self._kept = []

    def place(self, batch: Batch) -> Any:
        """The ``lk_batch *`` of a batch: its positions and sequences; valid until the next."""
        pos, seq = (ffi.from_buffer("int32_t[]", ids) for ids in (batch.pos, batch.seq))
        self._alive = pos, seq
        self._place.pos, self._place.seq, self._place.n_tokens = pos, seq, len(batch.tokens)
        return self._place

    def rows(self, batch: Batch) -> Any:
        """Pointer to the rows of x (R, n_embd) that `batch` asks for; valid until the next."""
        if len(batch.rows) == len(batch.tokens):
            return self.x.ptr
        width = self.x.shape[1]
        chosen = ops.Buffer(len(batch.rows), width)
        for i, row in enumerate(batch.rows):
            ffi.memmove(chosen.row(i), self.x.row(row), 4 * width)
        self._alive = *self._alive, chosen
        return chosen.ptr
