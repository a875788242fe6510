"""The chain: its order, its state, its errors, and the traps of combining stages."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacpp.errors import InvalidArgumentError
from llamacpp.ops import Buffer
from llamacpp.sampling import LogitsProcessorList, Sampler, SamplingParams
from llamacpp.sampling.candidates import xtc

RNG = np.random.default_rng(1973)
OFF: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def reference(logits: np.ndarray, p: SamplingParams) -> dict[int, float]:
    """The distribution of the truncating chain, token by token, in plain floats."""
    pairs = [(i, float(v)) for i, v in enumerate(logits) if v > -math.inf]
    pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    top = pairs[0][1]

    def probs() -> list[float]:
        weights = [math.exp(v - top) for _, v in pairs]
        return [w / math.fsum(weights) for w in weights]

    def prefix(sums: list[float], mass: float) -> int:
        return next((n for n in range(1, len(sums)) if math.fsum(sums[:n]) >= mass), len(sums))

    if p.top_n_sigma > 0:
        mean = math.fsum(v for _, v in pairs) / len(pairs)
        sigma = math.sqrt(math.fsum((v - mean) ** 2 for _, v in pairs) / len(pairs))
        pairs = [(i, v) for i, v in pairs if v >= top - p.top_n_sigma * sigma]
    if p.top_k > 0:
        pairs = pairs[: p.top_k]
    if p.typical_p < 1:
        q = probs()
        entropy = -math.fsum(x * math.log(x) for x in q)
        order = sorted(range(len(q)), key=lambda i: abs(-math.log(q[i]) - entropy))
        kept = sorted(order[: prefix([q[i] for i in order], p.typical_p)])
        pairs = [pairs[i] for i in kept]
        top = pairs[0][1]
    if p.top_p < 1:
        pairs = pairs[: prefix(probs(), p.top_p)]
    if p.min_p > 0:
        pairs = [(i, v) for i, v in pairs if v >= top + math.log(p.min_p)]
    if p.xtc_probability == 1:
        count = sum(x >= p.xtc_threshold for x in probs())
        pairs = pairs[max(count - 1, 0) :]
    top = pairs[0][1]
    weights = {i: math.exp((v - top) / p.temperature) for i, v in pairs}
    total = math.fsum(weights.values())
    return {i: w / total for i, w in weights.items()}


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0.3, 1.0, 2.5]),
            "top_k": st.sampled_from([0, -1, 1, 7, 40, 5000]),
            "top_p": st.sampled_from([0.0, 0.31, 0.9, 1.0]),
            "min_p": st.sampled_from([0.0, 0.013, 0.2, 1.0]),
            "typical_p": st.sampled_from([0.43, 1.0]),
            "top_n_sigma": st.sampled_from([-1.0, 0.7, 2.0]),
            "xtc_probability": st.sampled_from([0.0, 1.0]),
            "xtc_threshold": st.sampled_from([0.03, 0.2]),
        }
    ),
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 30, 700]),
)
def test_any_combination_of_stages_equals_the_definition(
    given_params: dict[str, Any], seed: int, n_vocab: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 2.5, n_vocab).astype(np.float32)
    params = SamplingParams(**given_params, seed=seed)
    expected = reference(logits, params)
    sampler = Sampler(params, n_vocab)
    chosen = sampler._truncate(Buffer.of(logits), float(logits.max()))
    if params.xtc_probability:
        chosen = xtc(chosen, params.xtc_threshold)
    weights = np.exp((np.asarray(chosen.logits) - chosen.logits[0]) / params.temperature)
    got = dict(zip(chosen.ids.tolist(), (weights / weights.sum()).tolist(), strict=True))
    assert got == pytest.approx(expected, rel=1e-9)
    assert sampler(logits) in expected


@pytest.mark.parametrize("n_vocab", [3000, 20_000])
@pytest.mark.parametrize("settings_", [{"top_p": 0.9}, {"min_p": 0.001}, {"top_p": 0.999}])
def test_truncating_a_whole_flat_vocabulary_needs_more_than_the_first_head(
    settings_: dict[str, float], n_vocab: int
) -> None:
    logits = RNG.normal(0, 0.5, n_vocab).astype(np.float32)
    params = SamplingParams(**{**OFF, **settings_})
    chosen = Sampler(params, n_vocab)._truncate(logits, float(logits.max()))
    probs = np.sort(np.exp(logits.astype(np.float64)))[::-1]
    if "top_p" in settings_:
        count = int(np.searchsorted(np.cumsum(probs / probs.sum()), settings_["top_p"])) + 1
    else:
        count = int(np.count_nonzero(probs >= probs[0] * settings_["min_p"]))
    assert len(chosen.ids) == count > 256


def test_draws_of_the_default_chain_follow_its_distribution() -> None:
    logits = RNG.normal(0, 1.5, 60).astype(np.float32)
    params = SamplingParams(seed=8)
    expected = reference(logits, params)
    sampler = Sampler(params, 60)
    n = 20_000
    counts = Counter(sampler(logits) for _ in range(n))
    assert set(counts) <= set(expected)
    chi2 = sum((counts[i] - n * q) ** 2 / (n * q) for i, q in expected.items())
    freedom = len(expected) - 1
    # Wilson-Hilferty: the 0.999 quantile of chi-square.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3
    assert freedom > 5
    assert chi2 < limit


def test_xtc_applies_as_often_as_asked() -> None:
    logits = row(3.0, 2.9, -20.0)
    sampler = Sampler(SamplingParams(**OFF, xtc_probability=0.25, xtc_threshold=0.3, seed=1), 3)
    n = 8000
    first = Counter(sampler(logits) for _ in range(n))[0] / n
    assert first == pytest.approx(0.75 / (1 + math.exp(-0.1)), abs=0.02)


def text(params: SamplingParams, steps: int = 60, **options: Any) -> list[int]:
    sampler = Sampler(params, 500, **options)
    rows = np.random.default_rng(0).normal(0, 2, (steps, 500)).astype(np.float32)
    out = []
    for logits in rows:
        out.append(sampler(logits))
        sampler.accept(out[-1])
    return out


ALL_ON = SamplingParams(
    repeat_penalty=1.2,
    frequency_penalty=0.3,
    presence_penalty=0.2,
    dry_multiplier=0.5,
    dry_sequence_breakers=(),
    xtc_probability=0.4,
    typical_p=0.9,
    top_n_sigma=3.0,
    logit_bias={3: 1.5, 9: -math.inf},
    seed=42,
)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(seed=42),
        ALL_ON,
        SamplingParams(mirostat_mode=1, seed=42),
        SamplingParams(mirostat_mode=2, seed=42),
        SamplingParams(**OFF, seed=42),
    ],
)
def test_the_same_seed_gives_the_same_text_and_another_another(params: SamplingParams) -> None:
    first = text(params)
    assert text(params) == first
    assert text(dataclasses.replace(params, seed=43)) != first


def test_the_text_of_a_seed_is_fixed_for_good() -> None:
    # Written down once: a change here means that every user's seeds have lost their meaning.
    logits = np.arange(10, dtype=np.float32) / 4
    sampler = Sampler(SamplingParams(**OFF, seed=2023), 10)
    assert [sampler(logits) for _ in range(16)] == [3, 6, 8, 0, 7, 2, 8, 9, 6, 8, 7, 7, 8, 9, 2, 8]


def test_a_missing_seed_is_fresh_and_can_be_read_and_replayed() -> None:
    sampler = Sampler(SamplingParams(), 500)
    assert sampler.seed != Sampler(SamplingParams(), 500).seed
    replay = Sampler(SamplingParams(seed=sampler.seed), 500)
    rows = RNG.normal(0, 2, (40, 500)).astype(np.float32)
    assert [sampler(r) for r in rows] == [replay(r) for r in rows]


def test_temperature_zero_takes_the_lowest_of_the_largest_whatever_else_is_set() -> None:
    logits = row(1.0, 5.0, 5.0, -1.0)
    for extra in ({}, {"mirostat_mode": 2}, {"xtc_probability": 1.0}, {"typical_p": 0.1}):
        assert Sampler(SamplingParams(temperature=0, **extra), 4)(logits) == 1


def test_temperature_zero_still_obeys_bias_and_penalties() -> None:
    logits = row(1.0, 5.0, 4.9, 3.0)
    assert Sampler(SamplingParams(temperature=0, logit_bias={3: 10}), 4)(logits) == 3
    penalized = SamplingParams(temperature=0, repeat_penalty=1.1)
    assert Sampler(penalized, 4, prompt=[1])(logits) == 2


@pytest.mark.parametrize("params", [SamplingParams(), ALL_ON, SamplingParams(temperature=0)])
def test_the_callers_logits_are_never_written(params: SamplingParams) -> None:
    logits = RNG.normal(0, 2, 500).astype(np.float32)
    before = logits.copy()
    logits.flags.writeable = False

    def scribble(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        scores[:] = 0.0
        return scores

    for processors in ([], [scribble]):
        sampler = Sampler(params, 500, prompt=[1, 2, 3], processors=processors)
        sampler(logits)
    assert (logits == before).all()


def test_a_processors_own_array_is_never_written() -> None:
    kept = RNG.normal(0, 2, 500).astype(np.float32)
    before = kept.copy()
    Sampler(ALL_ON, 500, prompt=[3], processors=[lambda ids, scores: kept])(kept)
    assert (kept == before).all()


def test_logit_bias_and_processors_combine() -> None:
    def only_even(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        scores[1::2] = -np.inf
        return scores

    params = SamplingParams(logit_bias={2: -math.inf, 4: 5.0}, temperature=0)
    sampler = Sampler(params, 6, processors=LogitsProcessorList([only_even]))
    assert sampler(row(0, 9, 8, 7, 6, 5)) == 4
    assert (
        Sampler(SamplingParams(temperature=0), 6, processors=[only_even])(row(0, 9, 8, 7, 6, 5))
        == 2
    )


def test_processors_run_first_and_in_turn_and_see_the_whole_text() -> None:
    seen: list[Any] = []

    def first(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        seen.append((ids.tolist(), scores.tolist(), scores.dtype, ids.dtype))
        return scores + 1

    def second(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        seen.append(scores.tolist())
        return scores

    params = SamplingParams(temperature=0, logit_bias={0: 99.0})
    sampler = Sampler(params, 2, prompt=[1, 1], processors=[first, second])
    assert sampler(row(0, 1)) == 0
    sampler.accept(0)
    sampler(row(0, 1))
    assert seen[0] == ([1, 1], [0, 1], np.float32, np.int32)
    assert seen[1] == [1, 2]
    assert seen[2][0] == [1, 1, 0]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros(3, np.float32), r"scores returned by broken have shape \(3,\); \(5,\)"),
        (np.full(5, np.nan), "the logits hold NaN or"),
        (np.full(5, -np.inf), "all -inf: every token is forbidden"),
    ],
)
def test_a_broken_processor_is_reported(result: np.ndarray, message: str) -> None:
    def broken(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        return result

    with pytest.raises(InvalidArgumentError, match=message):
        Sampler(SamplingParams(), 5, processors=[broken])(np.zeros(5, np.float32))


@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(temperature=0)])
@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (row(0, math.nan, 0), "the logits hold NaN or"),
        (row(0, math.inf, 0), r"the logits hold NaN or \+inf"),
        (row(*[-math.inf] * 3), "all -inf"),
        (row(0, 0), r"the logits have shape \(2,\); \(3,\) is expected"),
        (np.zeros((1, 3), np.float32), r"the logits have shape \(1, 3\)"),
    ],
)
def test_bad_logits_are_refused(params: SamplingParams, logits: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Sampler(params, 3)(logits)


def test_ids_outside_the_vocabulary_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"logit_bias names token 8, outside .* 0 to 7"):
        Sampler(SamplingParams(logit_bias={8: 1.0}), 8)
    with pytest.raises(InvalidArgumentError, match="the text holds token -1"):
        Sampler(SamplingParams(), 8, prompt=[1, -1])
    with pytest.raises(InvalidArgumentError, match="the text holds token 8"):
        Sampler(SamplingParams(), 8).accept(8)


@pytest.mark.parametrize("params", [SamplingParams(), ALL_ON])
def test_a_vocabulary_of_one_token_works(params: SamplingParams) -> None:
    params = dataclasses.replace(params, logit_bias={})
    for mode in (0, 1, 2):
        sampler = Sampler(dataclasses.replace(params, mirostat_mode=mode), 1, prompt=[0] * 9)
        assert sampler(row(-3.0)) == 0


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_forbidden_token_is_never_chosen(mode: int) -> None:
    params = SamplingParams(
        **OFF, logit_bias={0: -math.inf, 2: -math.inf}, mirostat_mode=mode, seed=5
    )
    sampler = Sampler(params, 4)
    assert {sampler(row(50, 0, 50, 0)) for _ in range(200)} == {1, 3}


def test_the_penalty_window_ends_where_asked() -> None:
    logits = row(5.0, 4.9, 0.0, 0.0)

    def greedy(**given_params: Any) -> int:
        return Sampler(
            SamplingParams(temperature=0, presence_penalty=1.0, **given_params),
            4,
            prompt=[0, 2, 2, 3],
        )(logits)

    assert greedy() == 1
    assert greedy(penalty_last_n=4) == 1
    assert greedy(penalty_last_n=3) == 0
    assert greedy(penalty_last_n=0) == 0
    assert greedy(penalty_last_n=-1) == 1


def test_accepted_tokens_are_penalised_however_many_there_are() -> None:
    sampler = Sampler(SamplingParams(temperature=0, penalty_last_n=-1, frequency_penalty=0.01), 3)
    for _ in range(1000):
        sampler.accept(0)
    assert sampler(row(10.0, 0.5, 0.1)) == 1


def test_dry_breaks_a_loop() -> None:
    logits = row(0.0, 0.0, 1.0, 0.5)
    prompt = [0, 1, 2, 0, 1]
    pieces = [b"a", b"b", b"c", b"\n"]
    params = SamplingParams(temperature=0, dry_multiplier=2.0)
    assert Sampler(params, 4, prompt=prompt, piece=pieces.__getitem__)(logits) == 3
    assert Sampler(SamplingParams(temperature=0), 4, prompt=prompt)(logits) == 2
    # The token before the repeat that breaks it makes it too short to count.
    broken = [0, 3, 2, 0, 3]
    assert Sampler(params, 4, prompt=broken, piece=pieces.__getitem__)(logits) == 2


def test_dry_without_the_text_of_tokens_says_what_to_pass() -> None:
    with pytest.raises(InvalidArgumentError, match="pass piece=, or dry_sequence_breakers"):
        Sampler(SamplingParams(dry_multiplier=1.0), 10)


@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("tau", [3.0, 5.0])
def test_mirostat_holds_the_surprise_at_its_target(mode: int, tau: float) -> None:
    n_vocab, steps = 2000, 1200
    rng = np.random.default_rng(7)
    zipf = -1.1 * np.log(np.arange(1, n_vocab + 1))
    sampler = Sampler(
        SamplingParams(temperature=1.0, mirostat_mode=mode, mirostat_tau=tau, seed=3), n_vocab
    )
    surprise = []
    for _ in range(steps):
        logits = (zipf + rng.normal(0, 0.3, n_vocab)).astype(np.float32)
        probs = np.exp(logits.astype(np.float64))
        surprise.append(-math.log2(probs[sampler(logits)] / probs.sum()))
    assert np.mean(surprise[200:]) == pytest.approx(tau, abs=0.15)
