"""The adapter for lm-evaluation-harness: the harness itself, on a task made here."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what others import is not ours
    reason = "pip install 'llamacpp[eval]' to test with lm-evaluation-harness"
    lm_eval = pytest.importorskip("lm_eval", reason=reason)
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model

    from llamacpp.evaluation import LlamacppLM

from llamacpp import InvalidArgumentError, Llama, bundled_model

CONTEXT = "Once upon a time there was a little"
CHOICES = [" girl", " dog who ran", " x9 q"]


@pytest.fixture(scope="module")
def lm() -> LlamacppLM:
    return LlamacppLM(bundled_model(), n_threads=1, n_ctx=64)


def ask(kind: str, *requests: tuple[object, ...]) -> list[Instance]:
    return [Instance(kind, {}, arguments, i) for i, arguments in enumerate(requests)]


def expected(context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """The same from one evaluation of all tokens in a new session."""
    with Llama(bundled_model(), n_threads=1) as llama:
        rows = llama.session.eval([*context, *continuation[:-1]], "all").astype(np.float64)
    rows = rows[len(context) - 1 :]
    logs = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    picked = logs[np.arange(len(continuation)), continuation]
    return float(picked.sum()), bool((rows.argmax(axis=1) == continuation).all())


def test_it_is_registered() -> None:
    assert get_model("llamacpp") is LlamacppLM


def test_choices_are_scored_and_their_context_is_evaluated_once(lm, monkeypatch) -> None:
    session, tokenizer = lm._llama.session, lm._llama.tokenizer
    session.reset()
    counts: list[int] = []
    run = session.eval
    monkeypatch.setattr(
        session, "eval", lambda tokens, *rest: counts.append(len(tokens)) or run(tokens, *rest)
    )
    found = lm.loglikelihood(ask("loglikelihood", *((CONTEXT, c) for c in CHOICES)), True)
    n_head = len(tokenizer.encode(CONTEXT, add_bos=True))
    tails = [tokenizer.encode(CONTEXT + c, add_bos=True)[n_head:] for c in CHOICES]
    head = tokenizer.encode(CONTEXT, add_bos=True)
    for (score, greedy), tail in zip(found, tails, strict=True):
        want, want_greedy = expected(head, tail)
        assert score == pytest.approx(want, rel=1e-3)
        assert greedy == want_greedy
    # The head but its last token once; then that token and the choice but its last, each time.
    assert sum(counts) == n_head - 1 + sum(map(len, tails))


def test_an_empty_context_and_a_long_one(lm) -> None:
    tokenizer = lm._llama.tokenizer
    [(score, _), (long, _), (short, _)] = lm.loglikelihood(
        ask("loglikelihood", ("", "Once"), ("word " * 200 + CONTEXT, " girl"), (CONTEXT, " girl")),
        True,
    )
    assert score == pytest.approx(
        expected([tokenizer.bos_id], tokenizer.encode("Once", add_bos=False))[0], rel=1e-3
    )
    assert long != short
    with pytest.raises(InvalidArgumentError, match="from 1 to 64 can be scored"):
        lm.loglikelihood(ask("loglikelihood", ("a", " dog" * 100)), True)


def test_a_rolling_text_is_scored_token_by_token(lm) -> None:
    tokenizer = lm._llama.tokenizer
    tokens = tokenizer.encode(CONTEXT, add_bos=False)
    longer = CONTEXT + " girl who had a dog." * 30  # more than a window
    short, long = lm.loglikelihood_rolling(
        ask("loglikelihood_rolling", (CONTEXT,), (longer,)), True
    )
    assert short == pytest.approx(expected([tokenizer.bos_id], tokens)[0], rel=1e-3)
    assert long < short < 0


def test_generation_stops_where_the_task_says(lm) -> None:
    free, stopped = lm.generate_until(
        ask("generate_until", (CONTEXT, {"max_gen_toks": 12}),
            (CONTEXT, {"max_gen_toks": 12, "until": ["a"]})), True,
    )  # fmt: skip
    with Llama(bundled_model(), n_threads=1) as llama:
        want = llama.create_completion(CONTEXT, max_tokens=12, temperature=0.0)
    assert free == want["choices"][0]["text"]
    assert stopped == free.split("a")[0]
    for options, message in (({"beams": 2}, "asks for beams"), ({"max_gen_toks": 64}, "no room")):
        with pytest.raises(InvalidArgumentError, match=message):
            lm.generate_until(ask("generate_until", (CONTEXT, options)), True)


@pytest.mark.filterwarnings("ignore")
def test_the_harness_runs_a_task(lm, tmp_path: Path, monkeypatch) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    rows = [{"text": CONTEXT, "choices": [" zq", " girl"], "label": 1}] * 2
    task = ConfigurableTask(config={
        "task": "stories", "output_type": "multiple_choice", "test_split": "test",
        "custom_dataset": lambda **_: DatasetDict({"test": Dataset.from_list(rows)}),
        "doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}", "doc_to_target": "label",
        "target_delimiter": "", "metric_list": [{"metric": "acc"}],
    })  # fmt: skip
    found = lm_eval.evaluate(lm, {"stories": task}, bootstrap_iters=0)
    assert found["results"]["stories"]["acc,none"] == 1.0
