"""`Llama.create_completion`: log-probabilities, against the reference and against the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamacpp import Llama
from tests.reference import ReferenceModel

PROMPT = "the other"  # three tokens with BOS


def check_logprobs(llama: Llama, path: Path, prompt: str, echo: bool) -> None:
    result = llama(prompt, max_tokens=12, temperature=0, logprobs=3, echo=echo)
    log = result["choices"][0]["logprobs"]
    assert log
    tokens = llama.session.tokens
    first = 1 if echo else result["usage"]["prompt_tokens"]
    logits = ReferenceModel(path).logits(tokens[:-1])
    want = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    rows = want[first - 1 :]
    assert len(log["tokens"]) == len(rows) == len(tokens) - first
    np.testing.assert_allclose(
        np.array(log["token_logprobs"], dtype=float),
        [row[token] for row, token in zip(rows, tokens[first:], strict=True)],
        atol=1e-4,
    )
    for top, row in zip(log["top_logprobs"], rows, strict=True):
        assert top
        assert 1 <= len(top) <= 3  # tokens that read the same count once
        best = sorted(row)[-3:]
        assert max(top.values()) == pytest.approx(best[-1], abs=1e-4)
        assert min(top.values()) >= best[0] - 1e-4


@pytest.mark.parametrize("echo", [False, True])
def test_logprobs_equal_those_of_the_float64_reference(talker: Path, echo: bool) -> None:
    with Llama(talker, type_k="f32", type_v="f32") as llama:
        check_logprobs(llama, talker, PROMPT, echo)


@pytest.mark.parametrize("echo", [False, True])
def test_logprobs_of_a_real_model_equal_the_reference(data_dir: Path, echo: bool) -> None:
    path = data_dir / "stories260K-f32.gguf"
    with Llama(path, type_k=0, type_v=0) as llama:
        check_logprobs(llama, path, "Once upon a time, there was a dog", echo)


def test_echoed_logprobs_of_a_long_prompt_take_several_pieces(stories: Llama) -> None:
    prompt = "One day, a girl went to the park. " * 30
    result = stories(prompt, max_tokens=2, temperature=0, echo=True, logprobs=0)
    log = result["choices"][0]["logprobs"]
    assert log
    n = result["usage"]["prompt_tokens"]
    assert n > 300
    assert len(log["tokens"]) == n - 1 + 2  # BOS is no part of the text
    assert "".join(log["tokens"]) == result["choices"][0]["text"]


@pytest.mark.parametrize("prompt", ["Once upon a time", "café 你好 x", "<s>Once", " two  spaces"])
def test_logprob_offsets_point_into_the_text(stories: Llama, prompt: str) -> None:
    result = stories(prompt, max_tokens=10, temperature=0, echo=True, logprobs=1)
    log, text = result["choices"][0]["logprobs"], result["choices"][0]["text"]
    assert log
    assert text.startswith(prompt)
    assert log["text_offset"] == sorted(log["text_offset"])
    for token, offset in zip(log["tokens"], log["text_offset"], strict=True):
        if "\ufffd" not in token and token != "<s>":
            assert text[offset : offset + len(token)] == token
    alone = stories(prompt, max_tokens=10, temperature=0, logprobs=1)["choices"][0]["logprobs"]
    assert alone
    assert alone["text_offset"][0] == len(prompt)
    assert log["text_offset"][-10:] == alone["text_offset"]


def test_logprobs_end_where_the_text_ends_at_a_stop(stories: Llama) -> None:
    options: dict[str, Any] = {"max_tokens": 40, "temperature": 0, "logprobs": 0}
    for stop in ("little girl", "girl", "irl", "Lily."):
        result = stories("Once upon a time", stop=stop, **options)
        log = result["choices"][0]["logprobs"]
        assert log
        end = len("Once upon a time") + len(result["choices"][0]["text"])
        assert log["text_offset"][-1] < end <= log["text_offset"][-1] + len(log["tokens"][-1])
