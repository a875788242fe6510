"""Where the time of a token goes, op by op.

A session runs a transformer block in one call. Here its network is replaced by one that runs the
ops of a block one by one, with a look at the clock between them; results are the same. What no op
takes is Python's: the rows add up to the time of the whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from llamacpp import ops
from llamacpp.engine import Model
from llamacpp.measure.speed import Runner, Test, touch
from llamacpp.measure.work import kv_bytes
from llamacpp.models.layers import Batch, Embedding, Network, Workspace

__all__ = ["Profile", "Row", "profile"]

ROUNDS = 3
# What a product is for, by its first tensor; others are called as that is.
ROLES = {"attn_q": "qkv", "attn_qkv": "qkv", "ffn_gate": "gate_up", "ffn_up": "gate_up",
         "ffn_down": "down"}  # fmt: skip
PYTHON = "python"


@dataclass(frozen=True)
class Row:
    """An op, in all layers together.

    Attributes:
        name: embedding, rope, qkv, attention, attn_output, gate_up, down, output; the rest is
            "python".
        calls: in a pass: per token of a single sequence that decodes, per 512 of a prompt.
        microseconds: per token.
        share: of the time of all rows.
        gbps: 10^9 bytes of weights, or of keys and values, per second; None if it reads neither.
        gops: 10^9 operations per second; None if it is no product with weights.
    """

    name: str
    calls: float
    microseconds: float
    share: float
    gbps: float | None
    gops: float | None


@dataclass(frozen=True)
class Profile:
    """The rows of a test.

    Attributes:
        test: what was run.
        n_threads: threads that it used.
        rows: in the order of a pass; the last is "python".
        microseconds: per token, of all rows together: the fastest of some runs.
        undisturbed: the same without a look at the clock between ops.
    """

    test: Test
    n_threads: int
    rows: list[Row]
    microseconds: float
    undisturbed: float


def profile(
    model: Model,
    test: Test,
    *,
    n_threads: int | None = None,
    cache_type: str = "f16",
    rounds: int = ROUNDS,
) -> Profile:
    """Run a test some times with and without a clock between its ops; tell of the fastest run.

    Args:
        model: what to run.
        test: a prompt or a decode.
        n_threads: by default the model's.
        cache_type: of keys and values.
        rounds: runs of each kind, after one that warms up.

    Raises:
        As `Runner` does.
    """
    touch(model, n_threads)
    runner = Runner(model, [test], n_threads=n_threads, cache_type=cache_type)
    session = runner.session
    plain, watched = session.network, _Watched(session.network, _Costs(model, runner, test))
    runner.run(test)
    undisturbed, best, clock = float("inf"), float("inf"), _Clock()
    for _ in range(rounds):
        session.network = plain
        undisturbed = min(undisturbed, runner.run(test))
        session.network = watched
        watched.clock = _Clock()
        seconds = runner.run(test)
        if seconds < best:
            best, clock = seconds, watched.clock
    return Profile(
        test=test,
        n_threads=model.n_threads if n_threads is None else n_threads,
        rows=_rows(clock, best, test),
        microseconds=best / test.tokens * 1e6,
        undisturbed=undisturbed / test.tokens * 1e6,
    )


def _rows(clock: _Clock, seconds: float, test: Test) -> list[Row]:
    """One row for each op, and one for what is left of `seconds`."""
    rows = []
    for name, spent in clock.spent.items():
        own = spent.nanoseconds * 1e-9
        rows.append(
            Row(
                name,
                spent.calls / test.passes,
                own / test.tokens * 1e6,
                own / seconds,
                spent.nbytes / own * 1e-9 if spent.nbytes else None,
                spent.operations / own * 1e-9 if spent.operations else None,
            )
        )
    left = seconds - sum(spent.nanoseconds for spent in clock.spent.values()) * 1e-9
    rows.append(Row(PYTHON, 0.0, left / test.tokens * 1e6, left / seconds, None, None))
    return rows


# ---- the clock ----------------------------------------------------------------------------------


@dataclass
class _Spent:
    """What all calls of an op took and did."""

    nanoseconds: int = 0
    calls: int = 0
    nbytes: float = 0.0
    operations: float = 0.0


class _Clock:
    """Adds up the ops of a run."""

    def __init__(self) -> None:
        self.spent: dict[str, _Spent] = {}
        self.last = 0  # when the last op ended

    def add(self, name: str, begin: int, nbytes: float = 0.0, operations: float = 0.0) -> None:
        """Count an op that began at `begin` and ends now."""
        self.last = perf_counter_ns()
        spent = self.spent.setdefault(name, _Spent())
        spent.nanoseconds += self.last - begin
        spent.calls += 1
        spent.nbytes += nbytes
        spent.operations += operations


class _Costs:
    """Bytes that a call reads, and operations per token, by the name that its block gives an op."""

    def __init__(self, model: Model, runner: Runner, test: Test) -> None:
        output = model.network.output
        self.output = output.tensors[0].name if output is not None else ""
        held = kv_bytes(runner.session, test.positions) * test.n_seq
        self.of = {"attention": (held / model.config.n_layer, 0.0), "residual": (0.0, 0.0)}
        for product in model.network.products():
            cost = float(product.nbytes_per_token), 2.0 * product.weights_per_token
            self.of[product.tensors[0].name] = cost


# ---- a network that is watched ------------------------------------------------------------------


class _Watched:
    """The network of a session, whose ops are timed. A `Network` itself."""

    def __init__(self, network: Network, costs: _Costs) -> None:
        self.config, self.n_vocab = network.config, network.n_vocab
        self.weights = network.weights
        self.embedding, self.output = network.embedding, network.output
        self.window = network.window
        self.clock = _Clock()
        self._costs = costs
        self._network = copy.copy(network)  # the network is shared with others, its weights stay so
        self._network.embedding = _WatchedEmbedding(network.embedding, self)
        self._blocks: list[ops.Block] = []

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """As `Network.blocks`."""
        return self._network.blocks(space)

    def products(self) -> Iterator[ops.Product]:
        """As `Network.products`."""
        return self._network.products()

    def hidden(
        self, batch: Batch, space: Workspace, out: Any, checkpoint: Callable[[], None]
    ) -> None:
        """As `Network.hidden`, not timed."""
        self._network.hidden(batch, space, out, checkpoint)

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """As `Network.forward`, with blocks that are timed in the place of those of `space`."""
        blocks, clock = space.blocks, self.clock
        self._blocks = self._blocks or [_WatchedBlock(b, self, self._costs) for b in blocks]
        at_first_layer = True

        def watch() -> None:
            nonlocal at_first_layer
            if at_first_layer:  # between the look-up and the layers come the angles
                clock.add("rope", clock.last)
                at_first_layer = False
            checkpoint()

        space.blocks = self._blocks
        try:
            self._network.forward(batch, space, logits, watch)
        finally:
            space.blocks = blocks
        if logits is not None:  # after the layers comes the output matrix
            nbytes, operations = self._costs.of[self._costs.output]
            clock.add("output", clock.last, nbytes, operations * len(batch.rows))


class _WatchedBlock(ops.Block):
    """A block that runs its ops one by one."""

    def __init__(self, block: ops.Block, watched: _Watched, costs: _Costs) -> None:
        super().__init__()
        self._block, self._watched = block, watched
        self._costs = [(_role(name), *costs.of[name]) for name in block.names]

    def run(self, batch: Any, work: ops.Work) -> None:
        """As `Block.run`."""
        for i in range(len(self._costs)):
            self.run_one(i, batch, work)

    def run_one(self, index: int, batch: Any, work: ops.Work) -> None:
        """As `Block.run_one`."""
        name, nbytes, operations = self._costs[index]
        begin = perf_counter_ns()
        self._block.run_one(index, batch, work)
        self._watched.clock.add(name, begin, nbytes, operations * batch.n_tokens)


class _WatchedEmbedding(Embedding):
    """An embedding whose look-ups are timed."""

    def __init__(self, embedding: Embedding, watched: _Watched) -> None:
        self.n_embd, self.n_vocab = embedding.n_embd, embedding.n_vocab
        self._embedding, self._watched = embedding, watched

    def look_up(self, batch: Batch, space: Workspace) -> None:
        """As `Embedding.look_up`."""
        begin = perf_counter_ns()
        self._embedding.look_up(batch, space)
        self._watched.clock.add("embedding", begin)


def _role(name: str) -> str:
    """What an op is for: blk.3.ffn_gate.weight is of the role gate_up."""
    stem = name.removesuffix(".weight").rpartition(".")[2]
    return ROLES.get(stem, stem)
