"""Prompt and decode, timed: the tests and the words of llama-bench.

`pp512` is a prompt of 512 tokens, evaluated 512 at once, with the logits of the last one. `tg64` is
64 tokens, evaluated one after another, each with its logits. Tokens are random and nothing is
sampled, so what is timed is the model alone. `@ d4096` is behind 4096 tokens that the cache holds
already, and `x8` are 8 sequences, of which one token each is evaluated at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from llamacpp import ops
from llamacpp.engine import Model, Session
from llamacpp.errors import InvalidArgumentError
from llamacpp.measure.limits import spans
from llamacpp.measure.work import kv_bytes, operations_per_token, weight_bytes_per_token
from llamacpp.memory.process import available_memory
from llamacpp.models.cache import KVCache

__all__ = [
    "BATCH",
    "Runner",
    "Test",
    "kv_bytes",
    "operations_per_token",
    "prompt",
    "step",
    "touch",
    "weight_bytes_per_token",
]

BATCH = 512  # tokens of a prompt that are evaluated at once


@dataclass(frozen=True)
class Test:
    """A prompt of `n_prompt` tokens, or `n_gen` steps of `n_seq` sequences, behind `n_depth`.

    Raises:
        InvalidArgumentError: neither of the two, both, or a number out of range.
    """

    __test__ = False  # pytest: nothing to collect

    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0
    n_seq: int = 1

    def __post_init__(self) -> None:
        for name, least in (("n_prompt", 0), ("n_gen", 0), ("n_depth", 0), ("n_seq", 1)):
            if getattr(self, name) < least:
                raise InvalidArgumentError(
                    f"{name} must be {least} or more, not {getattr(self, name)}"
                )
        if (self.n_prompt > 0) == (self.n_gen > 0):
            raise InvalidArgumentError("a test is either a prompt or a decode: give one of the two")
        if self.n_prompt and self.n_seq > 1:
            raise InvalidArgumentError("a prompt is measured in one sequence")

    @property
    def name(self) -> str:
        """As llama-bench calls it: pp512, tg64 @ d4096; and tg64 x8 for 8 sequences."""
        name = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        name += f" x{self.n_seq}" if self.n_seq > 1 else ""
        return name + (f" @ d{self.n_depth}" if self.n_depth else "")

    @property
    def is_prompt(self) -> bool:
        """Whether it is a prompt, and not a decode."""
        return self.n_prompt > 0

    @property
    def tokens(self) -> int:
        """Tokens that are evaluated, of all sequences."""
        return self.n_prompt or self.n_gen * self.n_seq

    @property
    def passes(self) -> int:
        """How many times the weights are read: once for all tokens that are evaluated at once."""
        return -(-self.n_prompt // BATCH) or self.n_gen

    @property
    def tokens_of_a_pass(self) -> float:
        """Tokens that share one reading of the weights."""
        return self.tokens / self.passes

    @property
    def positions(self) -> int:
        """Positions that a sequence holds on average while the test runs."""
        return self.n_depth + (self.n_prompt + self.n_gen) // 2

    @property
    def n_ctx(self) -> int:
        """Positions that a sequence must hold."""
        return self.n_depth + self.n_prompt + self.n_gen


class Runner:
    """Runs tests of a model, on one session that has room for all of them.

    What lies before a test is evaluated once, untimed, and kept: after a run the session forgets
    what came later. Tests in the order of their depths evaluate the least.

    Args:
        model: what to run.
        tests: all that `run` will be called with.
        n_threads: by default the model's.
        cache_type: "f16", "f32" or "q8_0" keys and values.
        seed: of the random tokens; what lies before a test is always the same.

    Attributes:
        session: runs them. Between two runs it holds the depth of the last one.

    Raises:
        InvalidArgumentError: no tests, a value out of range, or a cache that memory cannot hold.
        LlamaError: there is not the memory for it.
    """

    def __init__(
        self,
        model: Model,
        tests: Sequence[Test],
        *,
        n_threads: int | None = None,
        cache_type: str = "f16",
        seed: int = 0,
    ) -> None:
        if not tests:
            raise InvalidArgumentError("there is nothing to run: give at least one test")
        n_ctx, n_seq = (max(getattr(test, name) for test in tests) for name in ("n_ctx", "n_seq"))
        _check_room(model, tests, cache_type)
        self.session = model.session(
            n_ctx, n_threads=n_threads, n_seq=n_seq, cache_type=cache_type, n_batch=BATCH
        )
        self._n_vocab = model.n_vocab
        self._random = random.Random(seed)
        self._filled = [0] * n_seq

    def run(self, test: Test) -> float:
        """Run a test and return the seconds that it took."""
        for seq in range(test.n_seq):
            self._fill(seq, test.n_depth)
        tokens = self._draw(self._random, test.n_prompt)
        steps = [self._draw(self._random, test.n_seq) for _ in range(test.n_gen)]
        try:
            begin = time.perf_counter()
            if tokens:
                prompt(self.session, tokens, test.n_depth)
            for pos, each in enumerate(steps, test.n_depth):
                step(self.session, each, pos)
            return time.perf_counter() - begin
        finally:
            for seq in range(test.n_seq):
                self.session.rewind(test.n_depth, seq)

    def _fill(self, seq: int, n: int) -> None:
        """Let a sequence hold its first `n` tokens."""
        have = self._filled[seq] = min(self._filled[seq], n)
        self.session.rewind(have, seq)  # it may hold more, of a filling that was interrupted
        if have < n:
            tokens = self._draw(random.Random(f"depth {seq}"), n)
            prompt(self.session, tokens[have:], have, seq)
            self._filled[seq] = n

    def _draw(self, source: random.Random, n: int) -> list[int]:
        return [source.randrange(self._n_vocab) for _ in range(n)]


def _check_room(model: Model, tests: Sequence[Test], cache_type: str) -> None:
    """Refuse what memory cannot hold, rather than be killed for it halfway."""
    config = model.config
    one = KVCache(
        n_layer=config.n_layer,
        n_seq=1,
        n_kv_head=config.n_kv_head,
        n_ctx=1,
        head_dims=(config.head_dim_k, config.head_dim_v),
        cache_type=cache_type,
    )
    most = max(tests, key=lambda test: test.n_ctx * test.n_seq)
    needed, free = kv_bytes(one, most.n_ctx) * most.n_seq, available_memory()
    if free is not None and needed > free:
        raise InvalidArgumentError(
            f"{most.name} keeps {needed / 1e9:.1f} GB of keys and values, and {free / 1e9:.1f} GB"
            " of memory are free: ask for fewer tokens, less depth, or another cache type"
        )


def prompt(session: Session, tokens: list[int], pos: int, seq: int = 0) -> None:
    """Append tokens to a sequence that holds `pos` tokens; logits of the last one."""
    n = len(tokens)
    session.forward(tokens, range(pos, pos + n), [seq] * n, [n - 1])


def step(session: Session, tokens: list[int], pos: int) -> None:
    """Append one token to each of the first sequences, which hold `pos`; logits of each.

    A single sequence takes the way that generating takes.
    """
    n = len(tokens)
    if n == 1:
        session.eval(tokens)
    else:
        session.forward(tokens, [pos] * n, range(n), range(n))


def touch(model: Model, n_threads: int | None = None) -> None:
    """Read all weights once, so that they are in the page cache, if memory can hold them.

    Raises:
        ModelFileError: the file shrank.
    """
    threads = model.n_threads if n_threads is None else n_threads
    ops.probe_read(spans(model.weights.values()), 1, threads)
