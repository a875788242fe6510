"""What a benchmark finds, in numbers that can be checked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Model
from llamacpp._native import active_level
from llamacpp.errors import InvalidArgumentError
from llamacpp.measure import benchmark as module
from llamacpp.measure.benchmark import benchmark, model_type
from llamacpp.measure.speed import Runner, Test
from llamacpp.measure.work import kv_bytes, operations_per_token, weight_bytes_per_token
from llamacpp.memory.process import Memory
from tests.random_models import write_random_model


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run, in order: tests take 1, 2, 4 and 4 seconds; limits are probed in between."""
    done: list[str] = []
    seconds = iter([1.0, 2.0, 4.0, 4.0] * 10)
    limits = iter([10e9, 40e9, 30e9] * 10)

    def run(self: Runner, test: Test) -> float:
        done.append(test.name)
        return next(seconds)

    def probe(*_: Any) -> float:
        done.append("limit")
        return next(limits)

    monkeypatch.setattr(Runner, "run", run)
    monkeypatch.setattr(module, "read_bandwidth", probe)
    monkeypatch.setattr(module, "int8_peak", lambda n: probe() * 10)
    monkeypatch.setattr(module, "process_memory", lambda: Memory(1000, 2000))
    return done


def test_a_decode_in_numbers(model: Model, path: Path, ran: list[str]) -> None:
    test = Test(n_gen=16, n_depth=20, n_seq=2)
    (found,) = benchmark(model, [test], 3, cache_type="f32")
    # The warm-up, both limits, three runs, both limits.
    assert ran == ["tg8 x2 @ d20", "limit", "limit", *["tg16 x2 @ d20"] * 3, "limit", "limit"]
    assert (found.test, found.n_prompt, found.n_gen, found.n_depth, found.n_seq) == (
        "tg16 x2 @ d20", 0, 16, 20, 2,
    )  # fmt: skip
    assert (found.n_threads, found.cache_type, found.level) == (3, "f32", active_level())
    assert found.samples_ts == [16.0, 8.0, 8.0]  # 32 tokens in 2, 4, 4 seconds
    assert found.avg_ts == pytest.approx(32 / 3)
    assert found.stddev_ts == pytest.approx(8 / 3**0.5)
    session = model.session(64, cache_type="f32")
    nbytes = weight_bytes_per_token(model) + 2 * kv_bytes(session, 28)
    assert found.gbps == pytest.approx(32 / 3 / 2 * nbytes * 1e-9)
    assert found.gops == pytest.approx(32 / 3 * operations_per_token(model) * 1e-9)
    # The better of two: probe by probe 10 (read), 400 (int8), 30 (read), 100 (int8).
    assert (found.read_gbps, found.int8_gops) == pytest.approx((30.0, 400.0))
    assert found.read_share == pytest.approx(found.gbps / 30)
    assert found.int8_share == pytest.approx(found.gops / 400)
    assert (found.private_bytes, found.shared_bytes) == (1000, 2000)
    assert found.model_filename == str(path)
    assert found.model_size == sum(t.nbytes for t in model.weights.values())
    assert found.model_n_params == sum(t.n_elements for t in model.weights.values())
    assert found.model_type == "Q4_0"


def test_a_prompt_in_numbers(model: Model, ran: list[str]) -> None:
    (found,) = benchmark(model, [Test(n_prompt=100)], 1, repetitions=1, limits=False)
    assert ran == ["pp100", "pp100"]
    assert (found.avg_ts, found.stddev_ts, found.samples_ts) == (50.0, 0.0, [50.0])
    assert found.gops == pytest.approx(50 * operations_per_token(model, 1 / 100) * 1e-9)
    nbytes = weight_bytes_per_token(model) + kv_bytes(model.session(8), 50)
    assert found.gbps == pytest.approx(0.5 * nbytes * 1e-9)
    assert (found.read_gbps, found.read_share, found.int8_gops, found.int8_share) == (None,) * 4


def test_a_system_that_does_not_tell_of_memory(
    model: Model, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "process_memory", lambda: None)
    (found,) = benchmark(model, [Test(n_gen=1)], 1, limits=False)
    assert (found.private_bytes, found.shared_bytes) == (None, None)


def test_results_come_one_by_one_and_steps_are_told(model: Model, ran: list[str]) -> None:
    said: list[str] = []
    tests = [Test(n_prompt=8), Test(n_gen=4)]
    results = benchmark(model, tests, 1, repetitions=2, limits=False, show=said.append)
    assert next(results).test == "pp8"
    assert said == [
        "reading the weights once",
        "pp8: warm-up",
        "pp8: run 1 of 2",
        "pp8: run 2 of 2",
    ]
    assert next(results).test == "tg4"
    assert next(results, None) is None


def test_no_repetition_is_refused(model: Model) -> None:
    with pytest.raises(InvalidArgumentError, match="once or more, not 0 times"):
        next(benchmark(model, [Test(n_gen=1)], 1, repetitions=0))


def test_a_real_run_fills_every_field(model: Model) -> None:
    (found,) = benchmark(model, [Test(n_gen=2, n_depth=3)], 1, repetitions=2)
    assert len(found.samples_ts) == 2
    assert None not in vars(found).values()
    assert found.private_bytes > 1_000_000
    assert found.shared_bytes > 1_000_000
    for share, rate, limit in (
        (found.read_share, found.gbps, found.read_gbps),
        (found.int8_share, found.gops, found.int8_gops),
    ):
        assert share == pytest.approx(rate / limit)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"general.file_type": 15}, "Q4_K_M"),
        ({"general.file_type": 18}, "Q6_K"),
        ({"general.file_type": 999}, "mostly Q8_0"),
        ({"general.file_type": "new"}, "mostly Q8_0"),
        ({}, "mostly Q8_0"),
    ],
)
def test_a_mix_is_called_as_its_file_says(tmp_path: Path, metadata: Any, name: str) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q8_0, metadata=metadata)
    with Model.open(path) as model:
        assert model_type(model) == name
