"""Tests by the names of llama-bench, and what is evaluated, timed and forgotten for them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from llamacpp import Model, ops
from llamacpp.errors import InvalidArgumentError
from llamacpp.measure import speed
from llamacpp.measure.speed import Runner, Test

# ---- tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "name", "tokens", "passes", "positions", "n_ctx"),
    [
        (Test(n_prompt=512), "pp512", 512, 1, 256, 512),
        (Test(n_prompt=700), "pp700", 700, 2, 350, 700),
        (Test(n_prompt=8, n_depth=100), "pp8 @ d100", 8, 1, 104, 108),
        (Test(n_gen=64), "tg64", 64, 64, 32, 64),
        (Test(n_gen=64, n_depth=4096), "tg64 @ d4096", 64, 64, 4128, 4160),
        (Test(n_gen=64, n_seq=8), "tg64 x8", 512, 64, 32, 64),
        (Test(n_gen=64, n_depth=9, n_seq=8), "tg64 x8 @ d9", 512, 64, 41, 73),
    ],
)
def test_tests_know_their_size(
    test: Test, name: str, tokens: int, passes: int, positions: int, n_ctx: int
) -> None:
    assert test.name == name
    assert (test.tokens, test.passes, test.positions, test.n_ctx) == (
        tokens, passes, positions, n_ctx,
    )  # fmt: skip
    assert test.tokens_of_a_pass == tokens / passes
    assert test.is_prompt == name.startswith("pp")
    assert Test(**asdict(test)) == test


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "either a prompt or a decode"),
        ({"n_prompt": 1, "n_gen": 1}, "either a prompt or a decode"),
        ({"n_prompt": -1}, "n_prompt must be 0 or more, not -1"),
        ({"n_gen": 1, "n_depth": -2}, "n_depth must be 0 or more, not -2"),
        ({"n_gen": 1, "n_seq": 0}, "n_seq must be 1 or more, not 0"),
        ({"n_prompt": 1, "n_seq": 2}, "a prompt is measured in one sequence"),
    ],
)
def test_tests_that_make_no_sense_are_refused(numbers: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Test(**numbers)


# ---- the runner ---------------------------------------------------------------------------------


@pytest.fixture
def counting_clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that shows how many tokens were evaluated so far."""
    evaluated = [0]
    prompt, step = speed.prompt, speed.step

    def counted_prompt(session, tokens, pos, seq=0) -> None:
        prompt(session, tokens, pos, seq)
        evaluated[0] += len(tokens)

    def counted_step(session, tokens, pos) -> None:
        step(session, tokens, pos)
        evaluated[0] += len(tokens)

    monkeypatch.setattr(speed, "prompt", counted_prompt)
    monkeypatch.setattr(speed, "step", counted_step)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: float(evaluated[0]))
    return evaluated


def test_what_a_test_names_is_timed_and_nothing_else(
    model: Model, counting_clock: list[int]
) -> None:
    tests = [
        Test(n_prompt=9), Test(n_gen=5), Test(n_prompt=3, n_depth=20), Test(n_gen=4, n_depth=20),
        Test(n_gen=4, n_seq=3), Test(n_gen=2, n_seq=3, n_depth=7),
    ]  # fmt: skip
    runner = Runner(model, tests)
    for test in (*tests, *reversed(tests)):
        assert runner.run(test) == test.tokens
    # Depths were filled in besides, and kept for the test after.
    runner = Runner(model, tests)
    counting_clock[0] = 0
    for test in (tests[2], tests[2], tests[3]):
        runner.run(test)
    assert counting_clock[0] == 20 + 3 + 3 + 4


def test_a_session_holds_the_depth_between_runs(model: Model) -> None:
    deep, flat = Test(n_gen=4, n_depth=30, n_seq=2), Test(n_prompt=10)
    runner = Runner(model, [deep, flat])
    assert runner.session.n_ctx == 34
    assert runner.session.n_seq == 2
    runner.run(deep)
    before = runner.session.tokens
    assert len(before) == 30
    runner.run(deep)
    assert runner.session.tokens == before
    runner.run(flat)
    assert runner.session.tokens == []
    runner.run(deep)
    assert runner.session.tokens == before
    assert all(0 <= token < model.n_vocab for token in before)


def record(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> list[tuple[list[int], np.ndarray]]:
    """(tokens, logits) of each step that the runner takes from now on, in sequence 0."""
    seen: list[tuple[list[int], np.ndarray]] = []
    evaluate = runner.session.eval

    def recorded(tokens: list[int]) -> np.ndarray:
        logits = evaluate(tokens)
        seen.append((tokens, logits[-1].copy()))
        return logits

    monkeypatch.setattr(runner.session, "eval", recorded)
    return seen


def test_a_run_behind_a_depth_is_that_of_a_fresh_session(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    test, others = Test(n_gen=5, n_depth=40), [Test(n_prompt=60), Test(n_gen=9, n_seq=2)]
    runner = Runner(model, [test, *others], n_threads=2)
    for earlier in (test, *others, test):
        runner.run(earlier)
    seen = record(monkeypatch, runner)
    runner.run(test)
    fresh = model.session(64)
    fresh.forward(runner.session.tokens, range(40), [0] * 40, [39])
    assert len(seen) == 5
    for tokens, logits in seen:
        np.testing.assert_array_equal(fresh.eval(tokens)[0], logits)


def test_sequences_hold_the_same_whoever_came_before(model: Model) -> None:
    def logits_after(*earlier: Test) -> np.ndarray:
        test = Test(n_gen=1, n_depth=24, n_seq=3)
        runner = Runner(model, [*earlier, test])
        for one in (*earlier, test):
            runner.run(one)
        return runner.session.forward([7] * 3, [24] * 3, range(3), range(3))

    alone = logits_after()
    assert not np.array_equal(alone[0], alone[1])  # each sequence has tokens of its own
    deeper = Test(n_gen=8, n_depth=33, n_seq=2)
    np.testing.assert_array_equal(logits_after(deeper, Test(n_prompt=50)), alone)


def test_tokens_differ_from_run_to_run_and_repeat_with_the_seed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(seed: int) -> list[list[int]]:
        runner = Runner(model, [Test(n_gen=8)], seed=seed)
        seen = record(monkeypatch, runner)
        for _ in range(2):
            runner.run(Test(n_gen=8))
        return [token for token, _ in seen]

    first = runs(1)
    assert first[:8] != first[8:]
    assert runs(1) == first
    assert runs(2) != first


@pytest.mark.parametrize("where", ["prompt", "step"])
def test_a_run_that_was_interrupted_leaves_no_trace(
    model: Model, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    test, n = Test(n_gen=3, n_depth=20), 0
    runner = Runner(model, [test, Test(n_prompt=30)])
    runner.run(Test(n_prompt=30))
    original = getattr(speed, where)

    def stop(*args: object) -> None:
        nonlocal n
        n += 1
        original(*args)
        if n == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(speed, where, stop)
    with pytest.raises(KeyboardInterrupt):
        runner.run(test)
    assert runner.run(test) > 0
    assert runner.session.n_past == 20


@pytest.mark.parametrize("cache_type", ["f16", "f32", "q8_0"])
def test_caches_of_every_type_are_measured(model: Model, cache_type: str) -> None:
    runner = Runner(model, [Test(n_gen=2, n_depth=5)], cache_type=cache_type)
    assert runner.run(Test(n_gen=2, n_depth=5)) > 0
    assert runner.session.cache.type == {"f16": ops.F16, "f32": ops.F32, "q8_0": ops.Q8_0}[
        cache_type
    ]  # fmt: skip


def test_what_cannot_be_run_is_refused(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgumentError, match="at least one test"):
        Runner(model, [])
    with pytest.raises(InvalidArgumentError, match="unknown KV cache type 'f8'"):
        Runner(model, [Test(n_gen=1)], cache_type="f8")
    with pytest.raises(InvalidArgumentError, match=r"n_threads must be 1\.\.256"):
        Runner(model, [Test(n_gen=1)], n_threads=0)
    monkeypatch.setattr(speed, "available_memory", lambda: 1_000_000)
    with pytest.raises(InvalidArgumentError, match=r"tg1 x2 @ d1000 keeps 0\.0 GB .* less depth"):
        Runner(model, [Test(n_gen=1), Test(n_gen=1, n_depth=1000, n_seq=2)])
    monkeypatch.setattr(speed, "available_memory", lambda: None)  # not told: tried
    Runner(model, [Test(n_gen=1, n_depth=1000, n_seq=2)])


def test_touching_reads_every_weight_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ops, "probe_read", lambda *args: asked.append(args) or (1.0, 0))
    speed.touch(model, 3)
    ((spans, _, n_threads),) = asked
    assert n_threads == 3
    for tensor in model.weights.values():
        assert any(at <= tensor.address < at + n for at, n in spans), tensor.name
