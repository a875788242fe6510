"""What an engine under test speaks: one JSON object a line, a request in and an answer out.

    {"do": "about"}   -> {"name", "version", "build", "python"}
    {"do": "open", "path", "n_threads", "n_ctx", "n_seq", "cache_type"}   -> {"seconds"}
    {"do": "run", "n_prompt", "n_gen", "n_depth", "n_seq", "seed"}        -> {"seconds"}
    {"do": "memory"}  -> {"anonymous", "mapped", "pss"}, in bytes
    {"do": "limits"}  -> {"read_bandwidth", "int8_peak"}, bytes and operations per second
    {"do": "pace"}    -> {"operations"} per second that the processors do at this moment
    {"do": "work"}    -> {"weight_bytes", "operations", "prompt_operations"} of one token,
                         {"position_bytes"} of one position of the cache; see `bench.results.Model`

What fails is answered by {"error": {"type", "message"}}, and the process goes on.

This runs in the interpreter of whichever engine is measured: the standard library alone, and
nothing newer than Python 3.9. An adapter is a subclass of `Worker`; how a test is run is told here,
once, so that every engine is timed by the same lines.
"""

from __future__ import annotations

import json
import platform
import random
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TextIO

Answer = dict[str, Any]


class MissingEngineError(Exception):
    """The interpreter does not have the engine; the message says how to install it."""


class RefusedError(Exception):
    """The engine does not run what it was asked to: this file, this option, this request."""


class Worker(ABC):
    """One engine. An adapter sets `n_vocab` in `load` and implements what is abstract.

    Sequences are numbered from 0. Positions are those of the cache: tokens are appended, in order,
    until `rewind` forgets some. Each call returns when its logits can be read.
    """

    n_vocab = 0  # tokens, from `load` on
    n_ctx: Any = None  # positions that a sequence will hold, before `load`, if that is known

    @abstractmethod
    def about(self) -> Answer:
        """Tell `name`, `version` and `build` (what it was compiled for, in words)."""

    @abstractmethod
    def load(self, path: str, n_threads: int) -> None:
        """Open a model file, in place of the one before."""

    @abstractmethod
    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        """Make an empty context, in place of the one before.

        Args:
            n_ctx: positions that each sequence can hold.
            n_seq: sequences.
            cache_type: "f16", "f32" or "q8_0" keys and values.
        """

    @abstractmethod
    def prompt(self, tokens: list[int], pos: int, seq: int) -> None:
        """Append tokens to one sequence, from position `pos` on; logits of the last one."""

    @abstractmethod
    def step(self, tokens: list[int], pos: int) -> None:
        """Append one token to each of the first sequences, all at `pos`; logits of each."""

    @abstractmethod
    def rewind(self, n: int, n_seq: int) -> None:
        """Forget all but the first `n` positions of the first `n_seq` sequences."""

    def limits(self) -> Answer:
        """Probe what this machine allows, with the threads of `load`."""
        raise RefusedError("this engine does not probe limits")

    def pace(self) -> Answer:
        """Tell how fast the processors run just now, within some 10 ms."""
        raise RefusedError("this engine does not tell how fast the processors run")

    def work(self) -> Answer:
        """Tell what one token of the loaded model costs."""
        raise RefusedError("this engine does not tell what a token costs")

    # ---- what the harness asks for --------------------------------------------------------------

    _loaded: Any = None
    _depths: list[int] = []  # noqa: RUF012  positions kept for each sequence, from `open` on

    def answer(self, request: Answer) -> Answer:
        """Do what a request asks for and return the answer."""
        request = dict(request)
        do = request.pop("do", None)
        actions: dict[Any, Callable[..., Answer]] = {
            "about": lambda: {**self.about(), "python": platform.python_version()},
            "open": self._open,
            "run": self._run,
            "memory": process_memory,
            "limits": self.limits,
            "pace": self.pace,
            "work": self.work,
        }
        if do not in actions:
            raise RefusedError(f"there is no request {do!r}")
        return actions[do](**request)

    def _open(
        self, path: str, n_threads: int, n_ctx: int, n_seq: int = 1, cache_type: str = "f16"
    ) -> Answer:
        """Load a model, unless it is the one that is loaded, and make a context."""
        begin = time.perf_counter()
        if self._loaded != (path, n_threads):
            self._loaded = None
            self.n_ctx = n_ctx
            self.load(path, n_threads)
            self._loaded = (path, n_threads)
        self._depths = []
        self.start(n_ctx, n_seq, cache_type)
        self._depths = [0] * n_seq
        return {"seconds": time.perf_counter() - begin}

    def _run(
        self, n_prompt: int = 0, n_gen: int = 0, n_depth: int = 0, n_seq: int = 1, seed: int = 0
    ) -> Answer:
        """Time a prompt of sequence 0, and then steps in which `n_seq` sequences decode."""
        if not 1 <= n_seq <= len(self._depths):
            raise RefusedError(f"{n_seq} sequences do not fit into {len(self._depths)} open ones")
        if n_prompt and n_seq > 1:
            raise RefusedError("a prompt is measured in one sequence")
        for seq in range(n_seq):
            self._fill(seq, n_depth)
        rng = random.Random(seed)
        tokens = self._random_tokens(rng, n_prompt)
        steps = [self._random_tokens(rng, n_seq) for _ in range(n_gen)]
        self._depths[:n_seq] = [-1] * n_seq  # unknown, should this fail halfway
        begin = time.perf_counter()
        if n_prompt:
            self.prompt(tokens, n_depth, 0)
        for pos, step in enumerate(steps, n_depth + n_prompt):
            self.step(step, pos)
        seconds = time.perf_counter() - begin
        self.rewind(n_depth, n_seq)
        self._depths[:n_seq] = [n_depth] * n_seq
        return {"seconds": seconds}

    def _fill(self, seq: int, n_depth: int) -> None:
        """Let a sequence hold its first `n_depth` tokens, always the same ones."""
        if self._depths[seq] < 0 or self._depths[seq] > n_depth:
            self.rewind(0, len(self._depths))
            self._depths = [0] * len(self._depths)
        have = self._depths[seq]
        if have < n_depth:
            tokens = self._random_tokens(random.Random(f"depth {seq}"), n_depth)
            self.prompt(tokens[have:], have, seq)
            self._depths[seq] = n_depth

    def _random_tokens(self, rng: random.Random, n: int) -> list[int]:
        return [rng.randrange(self.n_vocab) for _ in range(n)]


def process_memory() -> Answer:
    """Bytes of this process that are its own, mapped from files, and its share of all.

    `anonymous` (RssAnon) is what it holds for itself. `mapped` (RssFile) are pages of files, which
    other processes may hold as well; `pss` counts each page divided by who maps it.
    """
    try:
        status = _sizes("/proc/self/status")
        rollup = _sizes("/proc/self/smaps_rollup")
    except OSError as error:
        raise RefusedError(f"this system does not tell: {error}") from error
    return {"anonymous": status["RssAnon"], "mapped": status["RssFile"], "pss": rollup["Pss"]}


def _sizes(path: str) -> dict[str, int]:
    """The lines `Name:  123 kB` of a file, in bytes."""
    sizes = {}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        for line in file:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                sizes[words[0].rstrip(":")] = int(words[1]) * 1024
    return sizes


def serve(make: Callable[[], Worker], requests: Iterable[str], replies: TextIO) -> None:
    """Answer requests until there are none. The engine is made on the first one.

    Args:
        make: makes the engine; what it raises is the answer to that request.
        requests: lines of JSON.
        replies: where the answers go, a line each.
    """
    worker = None
    for line in requests:
        try:
            if worker is None:
                worker = make()
            reply = worker.answer(json.loads(line))
        except Exception as error:
            if not isinstance(error, (MissingEngineError, RefusedError)):
                traceback.print_exc(file=sys.stderr)
            reply = {"error": {"type": type(error).__name__, "message": str(error)}}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
