"""A context: a KV cache, the tokens it stands for, and one owner at a time."""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal, NoReturn, overload

from llamacpp import ops
from llamacpp.buffers import Float32Array, Integers
from llamacpp.errors import (
    Cancelled,
    ContextOverflowError,
    InvalidArgumentError,
    LlamaError,
    SessionBusyError,
)
from llamacpp.format import ModelFile
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import Batch, Network, Workspace

__all__ = ["Context"]

Progress = Callable[[int, int], object]


class Context:
    """Evaluates tokens with a network and remembers them in a KV cache.

    One thread at a time: a second one gets `SessionBusyError`. Contexts of one network are
    independent, share its weights, and may run in parallel.

    Args:
        network: what to run.
        file: what its weights are mapped from; checked for changes before each evaluation.
        n_threads: threads to use.
        n_ctx: positions a sequence can hold; by default what the model was trained for. Memory
            is taken as positions are used.
        n_seq: independent sequences in the cache; `eval` and `generate` use sequence 0.
        cache_type: "f16", "f32" or "q8_0" keys and values.
        n_batch: tokens evaluated at once; a longer prompt is taken in pieces.

    Raises:
        InvalidArgumentError: a value is out of range.
        LlamaError: there is not the memory for it.
    """

    def __init__(
        self,
        network: Network,
        file: ModelFile,
        n_threads: int,
        *,
        n_ctx: int | None = None,
        n_seq: int = 1,
        cache_type: str = "f16",
        n_batch: int = 512,
    ) -> None:
        config = network.config
        n_ctx = config.n_ctx_train if n_ctx is None else n_ctx
        for name, value in (("n_ctx", n_ctx), ("n_seq", n_seq), ("n_batch", n_batch)):
            if not 1 <= value < 1 << 31:
                raise InvalidArgumentError(f"{name} must be from 1 to {2**31 - 1}, not {value}")
        self.network = network
        self.file = file
        self.n_ctx = n_ctx
        self.n_seq = n_seq
        cache = KVCache(
            n_layer=config.n_layer,
            n_seq=n_seq,
            n_kv_head=config.n_kv_head,
            n_ctx=n_ctx,
            head_dims=(config.head_dim_k, config.head_dim_v),
            cache_type=cache_type,
        )
        try:
            self._space = Workspace(network, cache, min(n_batch, n_ctx * n_seq), n_threads)
        except MemoryError as error:
            raise LlamaError(
                f"there is no memory to work on {n_batch} of {n_ctx} positions at once ({error});"
                " ask for a smaller n_ctx or n_batch"
            ) from error
        self._tokens: list[list[int]] = [[] for _ in range(n_seq)]
        self._pending: int | None = None  # of sequence 0: generated, not yet evaluated
        self._logits: ops.Buffer | None = None  # after the last token of sequence 0
        self._one = Batch(*(array("i", [0]) for _ in range(4)))  # what `_step` evaluates
        self._owner = threading.Lock()
        self._cancelled = threading.Event()

    # ---- what it holds ------------------------------------------------------------------------

    @property
    def tokens(self) -> list[int]:
        """The tokens of sequence 0, as a copy."""
        return self._tokens[0] + ([] if self._pending is None else [self._pending])

    @property
    def n_past(self) -> int:
        """How many tokens sequence 0 holds."""
        return len(self._tokens[0]) + (self._pending is not None)

    @property
    def logits(self) -> Float32Array | None:
        """Logits (n_vocab,) after the last token of sequence 0; None if not computed (yet)."""
        row = self.last_row
        return row.array[0] if row else None

    @property
    def last_row(self) -> ops.Buffer | None:
        """The same as a `Buffer`, for who can do without NumPy."""
        return self._logits if self._pending is None else None

    @property
    def cache(self) -> KVCache:
        """The KV cache."""
        return self._space.cache

    # ---- evaluating ---------------------------------------------------------------------------

    @overload
    def eval(
        self,
        tokens: Integers,
        logits: Literal["last", "all"] = "last",
        *,
        progress: Progress | None = None,
    ) -> Float32Array: ...
    @overload
    def eval(
        self,
        tokens: Integers,
        logits: None,
        *,
        progress: Progress | None = None,
    ) -> None: ...
    def eval(
        self,
        tokens: Integers,
        logits: Literal["last", "all"] | None = "last",
        *,
        progress: Progress | None = None,
    ) -> Float32Array | None:
        """Append tokens to sequence 0.

        Args:
            tokens: ids; at least one.
            logits: which rows to return: those of the "last" token, of "all", or None.
            progress: called as ``progress(done, total)`` after each piece of a long prompt;
                what it raises ends the evaluation, keeping the pieces that are done.

        Returns:
            float32 (rows, n_vocab): row i holds the scores of what follows token i of those asked
            for; None if none were asked for.

        Raises:
            InvalidArgumentError: no tokens, or an id outside the vocabulary.
            ContextOverflowError: they do not fit; nothing was evaluated.
            SessionBusyError: another thread is using this session.
            Cancelled: `cancel` was called; the session keeps the pieces that are done.
        """
        if logits not in ("last", "all", None):
            raise InvalidArgumentError(f"logits must be 'last', 'all' or None, not {logits!r}")
        with self.exclusive():
            result = self.append(tokens, logits, progress)
            return result.array if result else None

    def forward(
        self,
        tokens: Integers,
        pos: Integers,
        seq: Integers,
        rows: Integers = (),
        *,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Evaluate a batch of (token, position, sequence), mixed as you like.

        Args:
            tokens: (T,) ids.
            pos: (T,) positions; in each sequence they continue what the cache holds, in order.
            seq: (T,) sequence numbers, 0..n_seq - 1.
            rows: (R,) indices into the batch, ascending, whose logits are wanted.
            progress: see `eval`.

        Returns:
            float32 (R, n_vocab).

        Raises:
            As `eval`; InvalidArgumentError also for positions out of order.
        """
        with self.exclusive():
            self.flush()
            named = {"tokens": tokens, "pos": pos, "seq": seq, "rows": rows}
            batch = Batch(*(ops.int32(name, values) for name, values in named.items()))
            self._check(batch)
            return self._run(batch, progress).array

    def append(
        self,
        tokens: Integers,
        logits: Literal["last", "all"] | None,
        progress: Progress | None = None,
    ) -> ops.Buffer | None:
        """Do as `eval`, for whoever owns the context already; a pending token goes first."""
        if self._pending is None and len(tokens) == 1 and logits == "last" and progress is None:
            return self._step(tokens[0]).copy(0)  # the caller may write into it
        ids = ops.int32("tokens", tokens)
        past, pending = len(self._tokens[0]), self._pending is not None
        if self._pending is not None:
            ids.insert(0, self._pending)
        n = len(ids)
        self._check_tokens(ids)
        if past + n > self.n_ctx:
            self._refuse(n - pending, past + pending)
        first = {"last": n - 1, "all": int(pending), None: n}[logits]
        pos, rows = array("i", range(past, past + n)), array("i", range(first, n))
        self._pending = None
        result = self._run(Batch(ids, pos, array("i", bytes(4 * n)), rows), progress)
        return result if logits else None

    def accept(self, token: int) -> None:
        """Take a generated token in; it is evaluated together with what comes next."""
        self._pending = token

    def flush(self) -> None:
        """Evaluate the token taken in last, if it was not yet."""
        if self._pending is not None:
            token, self._pending = self._pending, None
            self._step(token)

    def _step(self, token: int) -> ops.Buffer:
        """Evaluate one token of sequence 0, as generating does; return `logits`.

        The general way, through `_run`, takes ten times as long: between two tokens the caches hold
        weights, and every line of code comes from memory.
        """
        past = len(self._tokens[0])
        if type(token) is not int or not 0 <= token < self.network.n_vocab:
            self._check_tokens(ops.int32("tokens", (token,)))
        if past >= self.n_ctx:
            self._refuse(1, past)
        self.file.check_unchanged()
        self._cancelled.clear()
        one, self._logits = self._one, None
        logits = ops.Buffer(1, self.network.n_vocab)
        one.tokens[0], one.pos[0] = token, past
        self.network.forward(one, self._space, logits.ptr, self._checkpoint)
        self._tokens[0].append(int(token))
        self._logits = logits
        return logits

    def restore(self, tokens: list[int], logits: ops.Buffer | None) -> None:
        """Stand for `tokens`, whose keys and values were put into the cache, from now on."""
        self._tokens[0] = tokens
        self._pending = None
        self._logits = logits

    def _check_tokens(self, ids: array[int]) -> None:
        n_vocab = self.network.n_vocab
        if not len(ids):
            raise InvalidArgumentError("there are no tokens to evaluate: give at least one")
        if min(ids) < 0 or max(ids) >= n_vocab:
            bad = next(token for token in ids if not 0 <= token < n_vocab)
            raise InvalidArgumentError(f"token {bad} is outside the vocabulary (0..{n_vocab - 1})")

    def _refuse(self, n: int, past: int) -> NoReturn:
        raise ContextOverflowError(
            f"{n} tokens after {past} do not fit into a context of {self.n_ctx}; start the session"
            " with a larger n_ctx, or drop tokens with rewind()"
        )

    def _check(self, batch: Batch) -> None:
        """Refuse batches that C must never see."""
        n = len(batch.tokens)
        self._check_tokens(batch.tokens)
        if len(batch.pos) != n or len(batch.seq) != n:
            raise InvalidArgumentError("tokens, pos and seq must have the same length")
        if min(batch.seq) < 0 or max(batch.seq) >= self.n_seq:
            raise InvalidArgumentError(f"a sequence number is outside 0..{self.n_seq - 1}")
        bounds = [-1, *batch.rows, n]
        if any(row >= later for row, later in pairwise(bounds)):
            raise InvalidArgumentError(f"rows must be ascending indices in 0..{n - 1}")
        past = {seq: len(self._tokens[seq]) for seq in batch.seq}
        count = dict.fromkeys(past, 0)
        for pos, seq in zip(batch.pos, batch.seq, strict=True):
            if pos != past[seq] + count[seq]:
                raise InvalidArgumentError(
                    f"positions of sequence {seq} must continue from {past[seq]}, in order"
                )
            count[seq] += 1
        for seq, added in count.items():
            if past[seq] + added > self.n_ctx:
                self._refuse(added, past[seq])

    def _run(self, batch: Batch, progress: Progress | None) -> ops.Buffer:
        """Evaluate in pieces of n_batch; each piece counts once it is done."""
        self.file.check_unchanged()
        self._cancelled.clear()
        n, step = len(batch.tokens), self._space.n_batch
        result = ops.Buffer(len(batch.rows), self.network.n_vocab)
        for start in range(0, n, step):
            end = min(start + step, n)
            low, high = bisect_left(batch.rows, start), bisect_left(batch.rows, end)
            piece = Batch(
                batch.tokens[start:end],
                batch.pos[start:end],
                batch.seq[start:end],
                array("i", [row - start for row in batch.rows[low:high]]),
            )
            self._logits = None
            out = result.row(low) if high > low else None
            self.network.forward(piece, self._space, out, self._checkpoint)
            for token, seq in zip(piece.tokens, piece.seq, strict=True):
                self._tokens[seq].append(token)
            if progress is not None:
                progress(end, n)
        if batch.rows and batch.rows[-1] == n - 1 and batch.seq[-1] == 0:
            # A copy: the caller may write into what it gets.
            self._logits = result.copy(len(batch.rows) - 1)
        return result

    def _checkpoint(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("the evaluation was cancelled")

    def cancel(self) -> None:
        """Stop the running evaluation at the next layer; any thread may call this."""
        self._cancelled.set()

    # ---- forgetting ---------------------------------------------------------------------------

    def rewind(self, n_past: int, seq: int = 0) -> None:
        """Forget all but the first `n_past` tokens of a sequence.

        Raises:
            InvalidArgumentError: the sequence holds fewer tokens, or does not exist.
        """
        with self.exclusive():
            if not 0 <= seq < self.n_seq:
                raise InvalidArgumentError(f"there is no sequence {seq} in 0..{self.n_seq - 1}")
            held = self.n_past if seq == 0 else len(self._tokens[seq])
            if not 0 <= n_past <= held:
                raise InvalidArgumentError(
                    f"sequence {seq} holds {held} tokens and cannot be rewound to {n_past}"
                )
            self._rewind(n_past, seq)

    def _rewind(self, n_past: int, seq: int = 0) -> None:
        if seq == 0 and n_past <= len(self._tokens[0]):
            self._pending = None  # it came after all of these
        if n_past < len(self._tokens[seq]):
            del self._tokens[seq][n_past:]
            if seq == 0:
                self._logits = None

    def keep_prefix(self, tokens: Sequence[int]) -> list[int]:
        """Keep what sequence 0 shares with `tokens` and forget the rest.

        Returns:
            The tokens still to be evaluated: at least the last one, whose logits are wanted.
        """
        with self.exclusive():
            held = self.tokens
            n = min(len(held), len(tokens))
            shared = next((i for i in range(n) if held[i] != tokens[i]), n)
            shared = min(shared, max(len(tokens) - 1, 0))
            self._rewind(shared)
            return list(tokens[shared:])

    def reset(self) -> None:
        """Forget everything."""
        with self.exclusive():
            for seq in range(self.n_seq):
                self._rewind(0, seq)

    # ---- ownership ----------------------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Own the session for a while.

        Raises:
            SessionBusyError: somebody else does: another thread, or a generator not finished.
        """
        if not self._owner.acquire(blocking=False):
            raise SessionBusyError(
                "this session is in use, by another thread or by a generator that has not ended;"
                " use one session per thread, and close() generators that you leave early"
            )
        try:
            yield
        finally:
            self._owner.release()
