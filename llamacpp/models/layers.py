"""What the architectures share: a batch of tokens, a session's working memory, prepared weights."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.models.cache import KVCache
from llamacpp.models.config import Config
from llamacpp.residency import Window, fetch
from llamacpp.tensors import Tensor

__all__ = ["Batch", "Embedding", "Layer", "Network", "Workspace"]


class Batch(NamedTuple):
    """Tokens to evaluate together.

    Several sequences may be mixed. Within one sequence positions follow each other without a gap,
    first after what its cache holds; a token sees its own sequence up to its own position.
    """

    tokens: array[int]  # int32 (T,) ids
    pos: array[int]  # (T,) position in the sequence
    seq: array[int]  # (T,) sequence of the cache
    rows: array[int]  # (R,) the indices, into the above, whose logits are wanted


class Layer(NamedTuple):
    """A transformer block as four prepared products (T tokens, shapes as columns -> rows)."""

    qkv: ops.Linear  # norm, then n_embd -> n_head * d, n_kv_head * d, n_kv_head * d
    attn_out: ops.Linear  # n_head * d -> n_embd, added to the residual stream
    gate_up: ops.Linear  # norm, then n_embd -> n_ff, SwiGLU
    down: ops.Linear  # n_ff -> n_embd, added to the residual stream


class Embedding:
    """The embedding matrix (n_embd, n_vocab in GGUF's order), looked up by row."""

    def __init__(self, tensor: Tensor) -> None:
        self.n_embd, self.n_vocab = tensor.shape
        self._matrix = ffi.new("lk_matrix *", ops.matrix(tensor))

    def look_up(self, tokens: array[int], out: Any) -> None:
        """Write the rows of `tokens` (T,) to `out`, ``float *`` (T, n_embd)."""
        ops.embed(self._matrix, self.n_embd, ffi.from_buffer("int32_t[]", tokens), len(tokens), out)


class Network(Protocol):
    """An architecture with its weights: immutable, used by any number of threads."""

    config: Config
    n_vocab: int
    weights: dict[str, Tensor]
    embedding: Embedding
    output: ops.Linear

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
        """
        ...

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """The layers, as they run on the memory of one session."""
        ...

    def linears(self) -> Iterator[ops.Linear]:
        """Every prepared product, for sizing scratch memory."""
        ...

    rope_kind: int
    window: Window | None  # that some of the weights pass through


@dataclass
class Workspace:
    """A session's own memory: its KV cache and the activations of up to `n_batch` tokens."""

    cache: KVCache
    n_batch: int

    def __init__(self, network: Network, cache: KVCache, n_batch: int, n_threads: int) -> None:
        config = network.config
        self.cache = cache
        self.n_batch = n_batch
        self.attention = ops.Attention(
            ops.AttentionShape(
                n_head=config.n_head,
                n_kv_head=config.n_kv_head,
                head_dim_k=config.head_dim_k,
                head_dim_v=config.head_dim_v,
                n_rot=config.n_rot,
                rope_kind=network.rope_kind if config.n_rot else ops.ROPE_NONE,
                cache_type=cache.type,
                n_seq=cache.n_seq,
                n_ctx=cache.n_ctx,
                scale=config.head_dim_k**-0.5,
            )
        )
        self.x = ops.Buffer(n_batch, config.n_embd)  # the residual stream
        self.q = ops.Buffer(n_batch, config.n_head * config.head_dim_k)
        self.k = ops.Buffer(n_batch, config.n_kv_head * config.head_dim_k)
        self.v = ops.Buffer(n_batch, config.n_kv_head * config.head_dim_v)
        self.heads = ops.Buffer(n_batch, config.n_head * config.head_dim_v)
        self.hidden = ops.Buffer(n_batch, config.n_ff)
        self.angles = ops.Buffer(n_batch, max(config.n_rot, 1))
        self.work = ops.Work(n_threads)
        counts = range(1, min(n_batch, 16) + 1), (n_batch,)
        for n_tokens in {n for group in counts for n in group}:
            self.work.reserve(self.attention.scratch(n_tokens, n_threads))
            for linear in network.linears():
                self.work.reserve(linear.scratch(n_tokens, n_threads))
        self._place = ffi.new("lk_batch *", {"angles": self.angles.ptr})
        self._alive: tuple[Any, ...] = ()
        self.blocks = list(network.blocks(self))
        self.window = network.window
        passing = set(self.window.tensors.values()) if self.window else set()
        self._passing = [  # of each op of each block: how many of its weights pass the window
            [sum(tensor in passing for tensor in tensors) for tensors in block.tensors]
            for block in self.blocks
        ]
        self._kept = [  # and those that have to be brought into memory once
            [[t for t in tensors if t not in passing] for tensors in block.tensors]
            for block in self.blocks
        ]

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
