"""From samples to numbers, with numbers that can be checked by hand."""

from __future__ import annotations

import dataclasses

import pytest

from bench.analysis import Limit, Spread, limit, rates, ratio, share, spread, work_rate
from bench.results import Case, Model, Round, Test

MODEL = Model("m", "m.gguf", 1000, weight_bytes=100.0, operations=20.0)


def case(test: Test, *rounds: tuple[dict[str, float], float, float]) -> Case:
    """A case of (seconds, bytes per second, operations per second)."""
    taken = [
        Round(list(seconds), seconds, {"read_bandwidth": read, "int8_peak": peak})
        for seconds, read, peak in rounds
    ]
    return Case("m", 1, test, taken)


@pytest.mark.parametrize(
    ("test", "name", "tokens", "of_a_pass", "n_ctx"),
    [
        (Test(n_prompt=512), "pp512", 512, 512, 512),
        (Test(n_prompt=2048), "pp2048", 2048, 512, 2048),
        (Test(n_prompt=8, n_depth=100), "pp8 @ d100", 8, 8, 108),
        (Test(n_gen=64), "tg64", 64, 1, 64),
        (Test(n_gen=64, n_depth=4096), "tg64 @ d4096", 64, 1, 4160),
        (Test(n_gen=64, n_seq=8), "tg64 x8", 512, 8, 64),
        (Test(n_gen=64, n_depth=9, n_seq=8), "tg64 x8 @ d9", 512, 8, 73),
    ],
)
def test_tests_know_their_size(
    test: Test, name: str, tokens: int, of_a_pass: int, n_ctx: int
) -> None:
    assert (test.name, test.tokens, test.tokens_of_a_pass, test.n_ctx) == (
        name, tokens, of_a_pass, n_ctx,
    )  # fmt: skip


def test_a_spread_is_median_and_range() -> None:
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([]) is None


def test_rates_count_the_tokens_of_all_sequences() -> None:
    assert rates(case(Test(n_gen=4, n_seq=3), ({"a": 2.0}, 1, 1)), "a") == [6.0]


def test_rounds_without_an_engine_do_not_count() -> None:
    found = case(
        Test(n_gen=4), ({"a": 1.0, "b": 3.0}, 1, 1), ({"a": 2.0}, 1, 1), ({"b": 1.0}, 1, 1)
    )
    assert rates(found, "a") == [4.0, 2.0]
    assert ratio(found, "a", "b") == Spread(3.0, 3.0, 3.0)
    assert ratio(found, "a", "c") is None


def test_decoding_is_bound_by_reading() -> None:
    found = case(Test(n_gen=4), ({"a": 1.0}, 500, 1000))
    assert limit(found, MODEL) == Limit("read", 500, 5.0)  # 1000 / 20 would be 50
    assert share(found, MODEL, "a") == Spread(0.8, 0.8, 0.8)
    assert work_rate(found, MODEL, "a", "read") == 400.0


def test_a_prompt_is_bound_by_operations() -> None:
    found = case(Test(n_prompt=100), ({"a": 4.0}, 500, 1000))
    assert limit(found, MODEL) == Limit("int8", 1000, 50.0)  # reading once would allow 500
    assert share(found, MODEL, "a") == Spread(0.5, 0.5, 0.5)
    assert work_rate(found, MODEL, "a", "int8") == 500.0


def test_sequences_share_the_reading_until_operations_bind() -> None:
    few = case(Test(n_gen=1, n_seq=8), ({"a": 1.0}, 500, 1000))
    many = case(Test(n_gen=1, n_seq=16), ({"a": 1.0}, 500, 1000))
    assert limit(few, MODEL) == Limit("read", 500, 40.0)
    assert limit(many, MODEL) == Limit("int8", 1000, 50.0)
    assert work_rate(few, MODEL, "a", "read") == 100.0


def test_shares_belong_to_rounds() -> None:
    # The machine halves its speed in the second round, and the engine with it.
    found = case(Test(n_gen=4), ({"a": 1.0}, 500, 1000), ({"a": 2.0}, 250, 1000))
    assert share(found, MODEL, "a") == Spread(0.8, 0.8, 0.8)


def test_the_limit_is_that_of_the_median_round() -> None:
    found = case(Test(n_gen=4), *(({"a": 1.0}, read, 1000) for read in (900, 100, 500)))
    assert limit(found, MODEL) == Limit("read", 500, 5.0)


def test_keys_and_values_are_read_as_well() -> None:
    model = dataclasses.replace(MODEL, position_bytes=0.5)
    found = case(Test(n_gen=4, n_depth=98, n_seq=2), ({"a": 1.0}, 500, 1000))  # 100 on average
    assert work_rate(found, model, "a", "read") == 4 * (100 + 2 * 100 * 0.5)
    assert limit(found, model) == Limit("read", 500, 2 * 500 / 200)


def test_a_prompt_asks_for_one_row_of_logits() -> None:
    model = dataclasses.replace(MODEL, prompt_operations=15.0)
    found = case(Test(n_prompt=100), ({"a": 4.0}, 500, 1000))
    assert work_rate(found, model, "a", "int8") == pytest.approx(25 * (15 + 5 / 100))
    assert share(found, model, "a").median == pytest.approx(25 * (15 + 5 / 100) / 1000)
    decode = case(Test(n_gen=4, n_seq=16), ({"a": 1.0}, 500, 1000))
    assert work_rate(decode, model, "a", "int8") == 64 * 20


def test_what_was_not_probed_is_not_made_up() -> None:
    found = Case("m", 1, Test(n_gen=4), [Round(["a"], {"a": 1.0})])
    assert limit(found, MODEL) is None
    assert share(found, MODEL, "a") is None
    known = case(Test(n_gen=4), ({"a": 1.0}, 500, 1000))
    bare = Model("m", "m.gguf", 1000)
    assert limit(known, bare) is None
    assert work_rate(known, bare, "a", "read") is None
    assert work_rate(known, MODEL, "b", "read") is None
