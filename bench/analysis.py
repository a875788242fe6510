"""From samples to numbers: medians, ratios within a round, and shares of what the machine allows.

A machine that others use is slow in one minute and fast in the next. Whatever compares two numbers
is therefore computed within a round, where they lie seconds apart, and then the median is taken.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from bench.results import Case, Model, Round, Test

__all__ = ["Limit", "Spread", "limit", "rates", "ratio", "share", "spread", "work_rate"]


@dataclass(frozen=True)
class Spread:
    """A median, and the smallest and largest value."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Limit:
    """What bounds a test: "read" (of the weights) or "int8" (operations), and by how much.

    Attributes:
        kind: which of the two bounds it more tightly.
        per_second: bytes or operations.
        tokens: tokens per second at that limit.
    """

    kind: str
    per_second: float
    tokens: float


def spread(values: list[float]) -> Spread | None:
    """Of some values; None if there are none."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values))


def rates(case: Case, engine: str) -> list[float]:
    """Tokens per second of an engine, a value per round that it took part in."""
    return [
        case.test.tokens / taken.seconds[engine] for taken in case.rounds if engine in taken.seconds
    ]


def ratio(case: Case, engine: str, other: str) -> Spread | None:
    """How many times faster `engine` is than `other`, round by round."""
    both = [taken.seconds for taken in case.rounds if {engine, other} <= taken.seconds.keys()]
    return spread([seconds[other] / seconds[engine] for seconds in both])


def _work(test: Test, model: Model) -> tuple[float, float] | None:
    """Bytes of a pass and operations of a token; None if they were not told.

    A pass reads the weights, and of each sequence the keys and values that are there on average.
    Of a prompt the last token alone has logits.
    """
    if not (model.weight_bytes and model.operations):
        return None
    nbytes = model.weight_bytes + test.n_seq * test.positions * (model.position_bytes or 0.0)
    operations = model.operations
    if test.is_prompt and model.prompt_operations is not None:
        output = operations - model.prompt_operations
        operations = model.prompt_operations + output / test.n_prompt
    return nbytes, operations


def _limit(case: Case, model: Model, taken: Round) -> Limit | None:
    """The tighter of the two limits of one round."""
    work = _work(case.test, model)
    if not (taken.limits and work):
        return None
    read, peak = taken.limits["read_bandwidth"], taken.limits["int8_peak"]
    by_reading = read / work[0] * case.test.tokens_of_a_pass
    by_computing = peak / work[1]
    if by_reading < by_computing:
        return Limit("read", read, by_reading)
    return Limit("int8", peak, by_computing)


def limit(case: Case, model: Model) -> Limit | None:
    """The limit of the median round; None where it was not probed."""
    found = [limit for taken in case.rounds if (limit := _limit(case, model, taken))]
    found.sort(key=lambda limit: limit.tokens)
    return found[(len(found) - 1) // 2] if found else None


def share(case: Case, model: Model, engine: str) -> Spread | None:
    """The part of the limit that an engine reaches, round by round."""
    return spread([
        case.test.tokens / taken.seconds[engine] / bound.tokens
        for taken in case.rounds
        if engine in taken.seconds and (bound := _limit(case, model, taken))
    ])  # fmt: skip


def work_rate(case: Case, model: Model, engine: str, kind: str) -> float | None:
    """Bytes that an engine reads ("read"), or operations that it does ("int8"), per second."""
    rate, work = spread(rates(case, engine)), _work(case.test, model)
    if rate is None or work is None:
        return None
    nbytes, operations = work
    if kind == "read":
        return rate.median / case.test.tokens_of_a_pass * nbytes
    return rate.median * operations
