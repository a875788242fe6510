"""`Llama.create_completion`: texts, streams, stops, limits."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import (
    Cancelled,
    ContextOverflowError,
    InvalidArgumentError,
    Llama,
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    SessionBusyError,
    StoppingCriteriaList,
    UnsupportedError,
)
from tests.random_models import write_random_model
from tests.tokenizer.vocabularies import bpe_metadata, train_merges

PROMPT = "the other"  # three tokens with BOS


def text_of(completion: Any) -> str:
    text: str = completion["choices"][0]["text"]
    return text


def joined(chunks: Any) -> str:
    return "".join(text_of(chunk) for chunk in chunks)


def test_the_whole_shape_of_a_completion(llama: Llama, talker: Path) -> None:
    result = llama(PROMPT, max_tokens=5, temperature=0)
    assert sorted(result) == ["choices", "created", "id", "model", "object", "usage"]
    assert result["object"] == "text_completion"
    assert result["model"] == str(talker)
    assert result["id"].startswith("cmpl-")
    assert result["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    (choice,) = result["choices"]
    assert sorted(choice) == ["finish_reason", "index", "logprobs", "text"]
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    assert llama(PROMPT, max_tokens=1, model="mine")["model"] == "mine"


def test_calls_as_llama_cpp_python_users_write_them(llama: Llama) -> None:
    want = text_of(llama(PROMPT, max_tokens=12, temperature=0))
    assert text_of(llama(PROMPT, None, 12, temperature=0.0)) == want
    assert text_of(llama.create_completion(PROMPT, suffix=None, max_tokens=12, top_k=1)) == want
    called = llama(
        prompt=PROMPT, suffix=None, max_tokens=12, temperature=0.0, top_p=0.95, min_p=0.05,
        typical_p=1.0, logprobs=None, echo=False, stop=[], frequency_penalty=0.0,
        presence_penalty=0.0, repeat_penalty=1.0, top_k=40, stream=False, seed=None, tfs_z=1.0,
        mirostat_mode=0, mirostat_tau=5.0, mirostat_eta=0.1, model=None, stopping_criteria=None,
        logits_processor=None, grammar=None, logit_bias=None,
    )  # fmt: skip
    assert text_of(called) == want


def test_the_golden_story(stories: Llama, data_dir: Path) -> None:
    want = (data_dir / "stories260K.expected.txt").read_text(encoding="utf-8")
    assert text_of(stories("", max_tokens=256, temperature=0)) + "\n" == want


def test_token_prompts_equal_text_prompts(llama: Llama) -> None:
    tokens = llama.tokenize(PROMPT.encode())
    want = text_of(llama(PROMPT, temperature=0, echo=True))
    assert text_of(llama(tokens, temperature=0, echo=True)) == want
    assert text_of(llama(np.array(tokens), temperature=0, echo=True)) == want  # type: ignore[call-overload]


@pytest.mark.parametrize("options", [{}, {"echo": True}, {"logprobs": 2}, {"stop": ["7", "B"]}])
def test_a_stream_joined_is_the_whole_text(llama: Llama, options: dict[str, Any]) -> None:
    whole = llama(PROMPT, max_tokens=60, seed=5, **options)
    llama.reset()
    chunks = list(llama(PROMPT, max_tokens=60, seed=5, stream=True, **options))
    assert joined(chunks) == text_of(whole)
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert ["usage" in c for c in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["usage"] == whole["usage"]
    assert len({c["id"] for c in chunks}) == 1
    if "logprobs" in options:
        logs = [c["choices"][0]["logprobs"] for c in chunks]
        pieces = [t for log in logs if log for t in log["tokens"]]
        assert whole["choices"][0]["logprobs"]
        assert pieces == whole["choices"][0]["logprobs"]["tokens"]


def test_streams_never_show_half_a_character(llama: Llama) -> None:
    """Most tokens of this model are single bytes: text may only come in whole characters."""
    chunks = list(llama(PROMPT, max_tokens=100, temperature=0, stream=True))
    tokens = llama.session.tokens[3:]
    assert (
        joined(chunks).encode() == llama.detokenize(tokens, [1]).decode("utf-8", "replace").encode()
    )
    forced = llama.tokenize("你好é".encode(), add_bos=False)[-7:]

    def spell(ids: Any, scores: Any) -> Any:
        scores[:] = -np.inf
        scores[forced[len(ids) - 3]] = 0.0
        return scores

    chunks = list(llama(PROMPT, max_tokens=len(forced), logits_processor=spell, stream=True))
    assert "\ufffd" not in joined(chunks)
    assert joined(chunks) == llama.detokenize(forced, [1]).decode()


def test_stop_strings_end_the_text_wherever_tokens_are_cut(stories: Llama) -> None:
    whole = text_of(stories("Once upon a time", max_tokens=40, temperature=0))
    for start, length in itertools.product(range(3, 30, 4), (1, 2, 5, 9)):
        stop = whole[start : start + length]
        for stream in (False, True):
            result = stories(
                "Once upon a time", max_tokens=40, temperature=0, stop=[stop], stream=stream
            )
            chunks = list(result) if stream else [result]  # type: ignore[list-item]
            assert joined(chunks) == whole[: whole.index(stop)]
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"  # type: ignore[typeddict-item]


def test_a_stop_string_may_come_alone_or_never(llama: Llama) -> None:
    whole = text_of(llama(PROMPT, max_tokens=30, temperature=0))
    assert text_of(llama(PROMPT, max_tokens=30, temperature=0, stop=whole[4])) == whole[:4]
    unfinished = llama(PROMPT, max_tokens=30, temperature=0, stop=[whole[-1] + "x", "absent"])
    assert text_of(unfinished) == whole
    assert unfinished["choices"][0]["finish_reason"] == "length"


def test_the_end_token_stops_and_is_no_text(llama: Llama) -> None:
    for end in (llama.token_eos(), llama.tokenizer.special_id("<|im_end|>")):
        result = llama(PROMPT, logit_bias={end: 1e6})
        assert (text_of(result), result["choices"][0]["finish_reason"]) == ("", "stop")
        assert result["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_without_a_limit_the_context_is_filled(talker: Path, limit: int | None) -> None:
    with Llama(talker, n_ctx=32) as llama:
        ends = dict.fromkeys(llama.tokenizer.eog_ids, -np.inf)
        result = llama(PROMPT, max_tokens=limit, logit_bias=ends, seed=1)
    assert result["usage"] == {"prompt_tokens": 3, "completion_tokens": 29, "total_tokens": 32}
    assert result["choices"][0]["finish_reason"] == "length"


def test_the_same_seed_gives_the_same_text(llama: Llama, talker: Path) -> None:
    def texts(model: Llama, **options: Any) -> list[str]:
        return [text_of(model(PROMPT, temperature=1.5, max_tokens=20, **options)) for _ in range(3)]

    assert len(set(texts(llama, seed=7))) == 1
    assert len(set(texts(llama))) == 3  # without one, each call goes on in the object's series
    llama.set_seed(3)
    series = texts(llama)
    with Llama(talker, seed=3) as other:
        assert texts(other) == series
    with Llama(talker, seed=4) as other:
        assert texts(other) != series
    assert texts(llama, seed=-1) != texts(llama, seed=-1)


def test_bias_processors_and_criteria_all_count(llama: Llama) -> None:
    seen: list[int] = []

    def only_two(ids: Any, scores: Any) -> Any:
        kept = scores[[270, 271]].copy()
        scores[:] = -np.inf
        scores[[270, 271]] = kept
        seen.append(len(ids))
        return scores

    options: dict[str, Any] = {"max_tokens": 8, "temperature": 0, "logprobs": 0}
    for winner in (270, 271):
        result = llama(PROMPT, logit_bias={winner: 500.0}, logits_processor=[only_two], **options)
        log = result["choices"][0]["logprobs"]
        assert log
        assert log["tokens"] == [llama.tokenizer.decode([winner], continuation=True)] * 8
    assert seen == [*range(3, 11)] * 2
    by_name = llama(PROMPT, logit_bias={"270": 500.0}, logits_processor=only_two, **options)
    assert text_of(by_name) == text_of(
        llama(PROMPT, logit_bias={270: 500.0}, logits_processor=only_two, **options)
    )
    stopping = StoppingCriteriaList([lambda ids, logits: len(ids) >= 6])
    result = llama(PROMPT, max_tokens=20, temperature=0, stopping_criteria=stopping)
    assert result["usage"]["completion_tokens"] == 3
    assert result["choices"][0]["finish_reason"] == "stop"


def test_min_tokens_holds_the_end_off(llama: Llama) -> None:
    ends = llama.tokenizer.eog_ids
    processors = LogitsProcessorList([MinTokensLogitsProcessor(4, ends)])
    result = llama(
        PROMPT, logit_bias=dict.fromkeys(ends, 100.0), logits_processor=processors, max_tokens=20
    )
    assert result["usage"]["completion_tokens"] == 4


def test_a_byte_level_vocabulary_without_bos(tmp_path: Path) -> None:
    merges = train_merges([b"the", b" other", b" there", b"then"], 9)
    vocabulary = {f"ggml.{key}": value for key, value in bpe_metadata(merges).items()}
    path = write_random_model(
        tmp_path / "bpe.gguf", Type.F32, n_embd=64, n_layer=1, vocabulary=vocabulary
    )
    prompt = "the other <|eot_id|> é"
    with Llama(path) as llama:
        result = llama(prompt, max_tokens=5, temperature=0, echo=True, logprobs=1)
        log, text = result["choices"][0]["logprobs"], text_of(result)
        assert log
        assert (log["token_logprobs"][0], log["top_logprobs"][0]) == (None, None)
        assert len(log["tokens"]) == result["usage"]["total_tokens"]
        end = llama.tokenizer.special_id("<|eot_id|>")
        assert end in llama.session.tokens
        for token, offset in zip(log["tokens"], log["text_offset"], strict=True):
            assert "\ufffd" in token or text[offset : offset + len(token)] == token
        assert llama("", max_tokens=1)["usage"]["prompt_tokens"] == 1  # BOS, to begin somewhere


def test_what_a_prompt_shares_with_the_last_is_not_evaluated_again(
    llama: Llama, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    network = llama.model.network
    forward = network.forward

    def counting(batch: Any, *args: Any) -> Any:
        evaluated.append(len(batch.tokens))
        return forward(batch, *args)

    monkeypatch.setattr(network, "forward", counting)
    llama(PROMPT * 10, max_tokens=3, temperature=0)
    n = len(llama.tokenize((PROMPT * 10).encode()))
    assert evaluated == [n, 1, 1]
    evaluated.clear()
    longer = [*llama.session.tokens, 270, 271]
    llama(longer, max_tokens=1)
    assert evaluated == [3]  # the last token generated, and the two new ones
    evaluated.clear()
    llama(longer, max_tokens=1)
    assert evaluated == [1]  # only to have its logits
    evaluated.clear()
    llama.reset()
    llama(longer, max_tokens=1)
    assert evaluated == [len(longer)]


def test_an_empty_prompt_begins_with_bos(llama: Llama) -> None:
    assert llama("", max_tokens=1)["usage"]["prompt_tokens"] == 1
    assert llama.session.tokens[0] == llama.token_bos()
    assert text_of(llama("", max_tokens=4, temperature=0, echo=True)) == text_of(
        llama("", max_tokens=4, temperature=0)
    )


def test_bos_is_never_doubled(llama: Llama) -> None:
    llama("<s>" + PROMPT, max_tokens=1)
    assert llama.session.tokens[:2] == llama.tokenize(PROMPT.encode())[:2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"top_p": 2.0}, "top_p is 2.0"),
        ({"max_tokens": "many"}, "max_tokens is 'many'; it must be an integer"),
        ({"logprobs": -1}, "logprobs is -1"),
        ({"logprobs": "all"}, "logprobs is 'all'"),
        ({"stop": [""]}, "non-empty"),
        ({"stop": [5]}, "stop string is 5"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"logit_bias": {"x": 1.0}}, "token id in logit_bias"),
        ({"logit_bias": {1: "x"}}, "logit_bias of token 1"),
        ({"logit_bias": 5}, "must map token ids"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_values_are_refused_before_anything_is_done(
    llama: Llama, options: dict[str, Any], message: str, stream: bool
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        llama(PROMPT, stream=stream, **options)
    assert llama.session.n_past == 0


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty list"),
        ([1, 10**6], "token 1000000 is outside the vocabulary"),
        ([-1], "token -1 is outside"),
        ([1.5], "the prompt is a list; it must be a str or a list of token ids"),
        (b"bytes", "the prompt is a bytes"),
        (None, "the prompt is a NoneType"),
        (["text"], "the prompt is a list"),
    ],
)
def test_bad_prompts_are_refused(llama: Llama, prompt: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        llama(prompt)


@pytest.mark.parametrize(
    "options", [{"suffix": "end"}, {"grammar": "root ::= 'x'"}, {"tfs_z": 0.5}]
)
def test_what_is_not_done_here_is_refused_by_name(llama: Llama, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=rf"{next(iter(options))}=.* is not supported"):
        llama(PROMPT, **options)


@pytest.mark.parametrize("name", ["max_token", "n_gpu_layers", "messages", "functions"])
def test_unknown_options_raise(llama: Llama, name: str) -> None:
    with pytest.raises(TypeError, match=rf"create_completion\(\) got an unexpected .* '{name}'"):
        llama(PROMPT, **{name: 1})  # type: ignore[call-overload]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_longer_than_the_context_is_refused(talker: Path, stream: bool) -> None:
    with Llama(talker, n_ctx=8) as llama:
        message = "the prompt has 9 tokens and does not fit into a context of 8"
        with pytest.raises(ContextOverflowError, match=message):
            llama([1] * 9, stream=stream)
        full = llama([1] * 8)
        assert (text_of(full), full["choices"][0]["finish_reason"]) == ("", "length")


def test_an_unfinished_stream_keeps_the_session(llama: Llama) -> None:
    stream = llama(PROMPT, stream=True)
    next(stream)
    with pytest.raises(SessionBusyError, match=r"close\(\) generators that you leave early"):
        llama(PROMPT)
    stream.close()
    llama(PROMPT, max_tokens=1)
    for chunk in llama(PROMPT, stream=True):
        assert chunk["object"] == "text_completion"
        break
    llama(PROMPT, max_tokens=1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_what_a_processor_raises_ends_the_call_and_not_the_model(
    llama: Llama, error: type[BaseException]
) -> None:
    want = text_of(llama(PROMPT, max_tokens=6, temperature=0))
    llama.reset()

    def fail(ids: Any, scores: Any) -> Any:
        if len(ids) == 6:
            raise error
        return scores

    with pytest.raises(error):
        llama(PROMPT, logits_processor=fail, max_tokens=20)
    assert text_of(llama(PROMPT, max_tokens=6, temperature=0)) == want


def test_stopping_elsewhere_cancels_the_evaluation(llama: Llama) -> None:
    network = llama.model.network
    forward = network.forward

    def cancelled(batch: Any, *args: Any) -> Any:
        llama.session.cancel()
        return forward(batch, *args)

    network.forward = cancelled  # type: ignore[method-assign]
    with pytest.raises(Cancelled, match="cancelled"):
        llama(PROMPT)
    network.forward = forward  # type: ignore[method-assign]
    assert llama(PROMPT, max_tokens=2)["usage"]["completion_tokens"] == 2
