"""Which memory the probes read, what they make of their samples, and that they run at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from llamacpp import Model, ops
from llamacpp._native import active_level, available_levels, set_level
from llamacpp.errors import KernelError
from llamacpp.format import GGMLType
from llamacpp.measure import limits
from llamacpp.tensors import Tensor

Spans = list[tuple[int, int]]


@pytest.fixture(params=available_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = active_level()
    set_level(request.param)
    yield request.param
    set_level(before)


def test_both_limits_are_probed_at_every_level(model: Model, level: str) -> None:
    assert limits.read_bandwidth(model, 2) > 1e6
    assert limits.int8_peak(1) > 1e6


def test_numbers_of_threads_that_make_no_sense_are_refused(model: Model) -> None:
    for n_threads in (0, 257):
        with pytest.raises(KernelError):
            limits.read_bandwidth(model, n_threads)
        with pytest.raises(KernelError):
            limits.int8_peak(n_threads)


def covered(spans: Spans, tensor: Tensor) -> bool:
    start, end = tensor.address, tensor.address + tensor.nbytes
    return any(at <= start and end <= at + n for at, n in spans)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Spans, int, int]]:
    """What `probe_read` was asked for; a pass takes 4, 2, 3, 3, ... seconds, and no time at all."""
    asked: list[tuple[Spans, int, int]] = []
    took = itertools.chain([4.0, 2.0], itertools.repeat(3.0))

    def probe(spans: Spans, n_streams: int, n_threads: int) -> tuple[float, int]:
        asked.append((spans, n_streams, n_threads))
        return next(took), 0

    monkeypatch.setattr(ops, "probe_read", probe)
    return asked


def test_reading_takes_what_a_token_reads_and_the_best_pass(
    model: Model, passes: list[tuple[Spans, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ENOUGH", 0.0)
    rate = limits.read_bandwidth(model, 3)
    assert [(n_streams, n_threads) for _, n_streams, n_threads in passes] == [(1, 3), (2, 3)] * 3
    spans = passes[0][0]
    assert rate == sum(n for _, n in spans) / 2.0
    tensors = dict(model.weights)
    embedding = tensors.pop("token_embd.weight")
    assert all(covered(spans, tensor) for tensor in tensors.values())
    assert not covered(spans, embedding)
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    assert nbytes <= sum(n for _, n in spans) < nbytes * 1.01  # padding between tensors


def test_reading_what_takes_long_is_not_repeated_more_than_once(
    model: Model, passes: list[tuple[Spans, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count()
    monkeypatch.setattr(limits.time, "perf_counter", lambda: float(next(now)))
    limits.read_bandwidth(model, 1)
    assert len(passes) == 2


def test_multiplying_counts_two_operations_and_samples_that_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    long_enough = iter([1.0, 0.5, *[2.0] * 100])

    def probe(rounds: int, n_threads: int) -> tuple[float, float]:
        asked.append((rounds, n_threads))
        # Short samples look fast, and must not count.
        return (1e-9, 1e9) if rounds < 8000 else (next(long_enough), 1000.0)

    monkeypatch.setattr(ops, "probe_int8", probe)
    assert limits.int8_peak(4) == 2 * 1000 / 0.5
    assert asked[:4] == [(1000, 4), (2000, 4), (4000, 4), (8000, 4)]
    assert asked[3:] == [(8000, 4)] * limits.SAMPLES


def tensor_at(address: int, nbytes: int) -> Tensor:
    return Tensor("t", GGMLType.F32, (nbytes // 4,), address, nbytes, memoryview(b""))


def test_tensors_that_follow_each_other_are_one_span() -> None:
    near, far = tensor_at(1 << 20, 1000), tensor_at((1 << 20) + 1024, 64)
    apart = tensor_at((1 << 20) + 1024 + 64 + limits.GAP, 8)
    assert limits.spans([apart, far, near]) == [(1 << 20, 1024 + 64), (apart.address, 8)]
    assert limits.spans([]) == []
