"""Tests of one model, repeated, beside the limits of the machine: what `llamacpp bench` runs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llamacpp._native import active_level
from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError
from llamacpp.format.types import FILE_TYPES
from llamacpp.measure.limits import int8_peak, read_bandwidth
from llamacpp.measure.machine import cpu_model
from llamacpp.measure.speed import Runner, Test, touch
from llamacpp.measure.work import kv_bytes, operations_per_token, weight_bytes_per_token
from llamacpp.memory.process import process_memory

__all__ = ["Result", "benchmark", "model_type"]

WARM_UP = 8  # tokens decoded before a decode is timed
Show = Callable[[str], object]


@dataclass(frozen=True)
class Result:
    """What a test found. Names that llama-bench has mean what they mean there.

    Attributes:
        model_filename: as it was opened.
        model_type: the mix of weight types.
        model_size: bytes of all tensors.
        model_n_params: weights.
        cpu_info: the processor.
        level: of the kernels in use.
        n_threads: threads.
        cache_type: of keys and values.
        test: pp512, tg64 x8 @ d4096 and the like.
        n_prompt, n_gen, n_depth, n_seq: the same in numbers; see `Test`.
        avg_ts: tokens per second, of all sequences: the mean of the repetitions.
        stddev_ts: their standard deviation; 0 for a single one.
        samples_ts: each of them.
        gbps: 10^9 bytes per second of weights, keys and values that were read.
        read_gbps: the same at most, as `read_bandwidth` probes it; None if it was not probed.
        read_share: gbps / read_gbps.
        gops: 10^9 operations per second in products with weights.
        int8_gops: the same at most, as `int8_peak` probes it; None if it was not probed.
        int8_share: gops / int8_gops.
        private_bytes, shared_bytes: see `Memory`; after the test. None if the system does not tell.
    """

    model_filename: str
    model_type: str
    model_size: int
    model_n_params: int
    cpu_info: str
    level: str
    n_threads: int
    cache_type: str
    test: str
    n_prompt: int
    n_gen: int
    n_depth: int
    n_seq: int
    avg_ts: float
    stddev_ts: float
    samples_ts: list[float]
    gbps: float
    read_gbps: float | None
    read_share: float | None
    gops: float
    int8_gops: float | None
    int8_share: float | None
    private_bytes: int | None
    shared_bytes: int | None


@dataclass
class _Limits:
    """The best that was probed so far, in 10^9 per second."""

    read: float | None = None
    int8: float | None = None

    def probe(self, model: Model, n_threads: int) -> None:
        self.read = max(self.read or 0.0, read_bandwidth(model, n_threads) * 1e-9)
        self.int8 = max(self.int8 or 0.0, int8_peak(n_threads) * 1e-9)


def benchmark(
    model: Model,
    tests: Sequence[Test],
    n_threads: int,
    *,
    repetitions: int = 3,
    cache_type: str = "f16",
    limits: bool = True,
    show: Show = lambda text: None,
) -> Iterator[Result]:
    """Run tests one after the other and yield what each found.

    Each is run once as a warm-up, then `repetitions` times; the limits are probed before and after,
    and the better of the two counts.

    Args:
        model: what to run.
        tests: what to measure; those of one depth together.
        n_threads: threads.
        repetitions: counted runs of each test.
        cache_type: of keys and values.
        limits: whether to probe them.
        show: called with a few words before each step.

    Raises:
        InvalidArgumentError: a value is out of range, or memory cannot hold a test.
    """
    if repetitions < 1:
        raise InvalidArgumentError(f"a test is repeated once or more, not {repetitions} times")
    runner = Runner(model, tests, n_threads=n_threads, cache_type=cache_type)
    show("reading the weights once")
    touch(model, n_threads)
    for test in tests:
        probed = _Limits()
        show(f"{test.name}: warm-up")
        runner.run(_warm_up(test))
        if limits:
            probed.probe(model, n_threads)
        seconds = []
        for i in range(repetitions):
            show(f"{test.name}: run {i + 1} of {repetitions}")
            seconds.append(runner.run(test))
        if limits:
            probed.probe(model, n_threads)
        yield _result(model, runner, test, seconds, probed, n_threads, cache_type)


def _warm_up(test: Test) -> Test:
    """A prompt as it is; of a decode, its first tokens."""
    if test.is_prompt:
        return test
    return Test(n_gen=min(test.n_gen, WARM_UP), n_depth=test.n_depth, n_seq=test.n_seq)


def _result(
    model: Model,
    runner: Runner,
    test: Test,
    seconds: list[float],
    limits: _Limits,
    n_threads: int,
    cache_type: str,
) -> Result:
    samples = [test.tokens / taken for taken in seconds]
    rate = statistics.mean(samples)
    nbytes = weight_bytes_per_token(model) + test.n_seq * kv_bytes(runner.session, test.positions)
    gbps = rate / test.tokens_of_a_pass * nbytes * 1e-9
    rows = 1 / test.n_prompt if test.is_prompt else 1.0
    gops = rate * operations_per_token(model, rows) * 1e-9
    held = process_memory()
    tensors = model.file.tensors.values()
    return Result(
        model_filename=str(model.file.path),
        model_type=model_type(model),
        model_size=sum(info.nbytes for info in tensors),
        model_n_params=sum(math.prod(info.shape) for info in tensors),
        cpu_info=cpu_model(),
        level=active_level(),
        n_threads=n_threads,
        cache_type=cache_type,
        test=test.name,
        n_prompt=test.n_prompt,
        n_gen=test.n_gen,
        n_depth=test.n_depth,
        n_seq=test.n_seq,
        avg_ts=rate,
        stddev_ts=statistics.stdev(samples) if len(samples) > 1 else 0.0,
        samples_ts=samples,
        gbps=gbps,
        read_gbps=limits.read,
        read_share=gbps / limits.read if limits.read else None,
        gops=gops,
        int8_gops=limits.int8,
        int8_share=gops / limits.int8 if limits.int8 else None,
        private_bytes=held.private if held else None,
        shared_bytes=held.shared if held else None,
    )


def model_type(model: Model) -> str:
    """The mix of weight types, by the name that its quantizer gave it; else the most common type.

    "Q4_K_M", or "mostly Q4_K" where the file does not tell.
    """
    told = model.metadata.get("general.file_type", None)
    if isinstance(told, int) and told in FILE_TYPES:
        return FILE_TYPES[told]
    nbytes = Counter[str]()
    for info in model.file.tensors.values():
        nbytes[info.type.name] += info.nbytes
    return f"mostly {nbytes.most_common(1)[0][0]}"
