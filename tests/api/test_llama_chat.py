"""`Llama.create_chat_completion`: shapes, streams, templates, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamacpp import (
    ContextOverflowError,
    InvalidArgumentError,
    Llama,
    TemplateError,
    UnsupportedError,
)
from tests.small_models import write_talker

HELLO = [{"role": "user", "content": "the other"}]


def content(answer: Any) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


def prompt_of(llama: Llama, n: int) -> str:
    return llama.tokenizer.decode(llama.session.tokens[1:n], special=True)


def test_the_whole_shape_of_an_answer(llama: Llama, talker: Path) -> None:
    answer = llama.create_chat_completion(HELLO, max_tokens=5, temperature=0)
    assert sorted(answer) == ["choices", "created", "id", "model", "object", "usage"]
    assert (answer["object"], answer["model"]) == ("chat.completion", str(talker))
    assert answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert sorted(choice) == ["finish_reason", "index", "logprobs", "message"]
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    assert choice["message"]["role"] == "assistant"
    usage = answer["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5 == len(llama.session.tokens)


def test_the_template_writes_the_prompt(llama: Llama) -> None:
    messages = [
        {"role": "system", "content": "the"},
        {"role": "user", "content": [{"type": "text", "text": "other"}]},
        {"role": "assistant", "content": "es"},
        {"role": "user", "content": "here"},
    ]
    answer = llama.create_chat_completion(messages, max_tokens=1)
    n = answer["usage"]["prompt_tokens"]
    assert llama.session.tokens[0] == llama.token_bos()
    # This vocabulary puts a space after each control token, as SentencePiece does.
    assert prompt_of(llama, n) == (
        "<|im_start|> system\nthe<|im_end|> \n<|im_start|> user\nother<|im_end|> \n"
        "<|im_start|> assistant\nes<|im_end|> \n<|im_start|> user\nhere<|im_end|> \n"
        "<|im_start|> assistant\n"
    )


@pytest.mark.parametrize("options", [{}, {"stop": ["4", "\x17("]}, {"logprobs": True}])
def test_a_streamed_answer_joined_is_the_whole(llama: Llama, options: dict[str, Any]) -> None:
    whole = llama.create_chat_completion(HELLO, max_tokens=25, seed=2, **options)
    llama.reset()
    chunks = list(
        llama.create_chat_completion(HELLO, max_tokens=25, seed=2, stream=True, **options)
    )
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant"}
    assert choices[-1]["delta"] == {}
    assert "".join(c["delta"].get("content", "") for c in choices) == content(whole)
    assert [c["finish_reason"] for c in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    if "logprobs" in options:
        logs = [c["logprobs"] for c in choices if c["logprobs"]]
        flat = [entry for log in logs for entry in log["content"]]
        assert whole["choices"][0]["logprobs"] == {"content": flat}


def test_logprobs_name_text_bytes_and_rivals(llama: Llama) -> None:
    answer = llama.create_chat_completion(
        HELLO, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    log = answer["choices"][0]["logprobs"]
    assert log
    assert len(log["content"]) == answer["usage"]["completion_tokens"]
    for entry in log["content"]:
        assert sorted(entry) == ["bytes", "logprob", "token", "top_logprobs"]
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
        assert len(entry["top_logprobs"]) == 3
        assert entry["top_logprobs"][0]["logprob"] == entry["logprob"]  # greedy took the best
    plain = llama.create_chat_completion(HELLO, max_tokens=1, temperature=0, logprobs=True)
    log = plain["choices"][0]["logprobs"]
    assert log
    assert log["content"][0]["top_logprobs"] == []
    with pytest.raises(InvalidArgumentError, match="top_logprobs needs logprobs=True"):
        llama.create_chat_completion(HELLO, top_logprobs=3)


def test_the_temperature_is_low_unless_given(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    make = llama.sampling_params

    def spying(options: Any) -> Any:
        params = make(options)
        seen.append(params.temperature)
        return params

    monkeypatch.setattr(llama, "sampling_params", spying)
    for given in ({}, {"temperature": None}, {"temperature": 0.7}):
        llama.create_chat_completion(HELLO, max_tokens=1, **given)  # type: ignore[call-overload]
    assert seen == [0.2, 0.2, 0.7]


def test_an_answer_ends_at_the_end_of_its_turn(llama: Llama) -> None:
    end = llama.tokenizer.special_id("<|im_end|>")
    answer = llama.create_chat_completion(HELLO, logit_bias={end: 1e6})
    assert (content(answer), answer["choices"][0]["finish_reason"]) == ("", "stop")


def test_a_conversation_is_evaluated_once(llama: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    first = llama.create_chat_completion(HELLO, max_tokens=8, temperature=0)
    held = len(llama.session.tokens)
    evaluated: list[int] = []
    network = llama.model.network
    forward = network.forward

    def counting(batch: Any, *args: Any) -> Any:
        evaluated.append(len(batch.tokens))
        return forward(batch, *args)

    monkeypatch.setattr(network, "forward", counting)
    answer = first["choices"][0]["message"]
    history = [*HELLO, answer, {"role": "user", "content": "here"}]
    second = llama.create_chat_completion(history, max_tokens=1)
    n = second["usage"]["prompt_tokens"]
    assert n > held
    assert evaluated[0] < n - first["usage"]["prompt_tokens"] + 1


@pytest.mark.parametrize(
    ("chat_format", "prompt", "stop"),
    [
        (
            "chatml",
            "<|im_start|> user\nthe other<|im_end|> \n<|im_start|> assistant\n",
            "<|im_end|>",
        ),
        ("llama-2", "[INST] the other [/INST]", "[INST]"),
        ("{{ messages[0].content }}|", "the other|", None),
    ],
)
def test_another_format_can_be_chosen(
    talker: Path, chat_format: str, prompt: str, stop: str | None
) -> None:
    with Llama(talker, chat_format=chat_format) as llama:
        n = llama.create_chat_completion(HELLO, max_tokens=1)["usage"]["prompt_tokens"]
        assert prompt_of(llama, n).lstrip() == prompt
        assert llama.chat_format.stop == ((stop,) if stop else ())


def test_a_file_without_a_template_gets_what_its_vocabulary_suggests(tmp_path: Path) -> None:
    with Llama(write_talker(tmp_path / "bare.gguf", template=None)) as llama:
        assert llama.chat_format.name == "chatml"


def test_a_format_nobody_knows_is_refused(talker: Path) -> None:
    with (
        Llama(talker, chat_format="klingon") as llama,
        pytest.raises(InvalidArgumentError, match=r"no chat format 'klingon'; known are alpaca"),
    ):
        llama.create_chat_completion(HELLO)


def test_a_template_that_refuses_is_an_error(llama: Llama) -> None:
    with pytest.raises(TemplateError, match="there are no teachers here"):
        llama.create_chat_completion([{"role": "teacher", "content": "hello"}])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "messages is empty"),
        ("hello", "messages is a str"),
        ([{"content": "hello"}], r"messages\[0\] has the role None"),
        ([{"role": "user", "content": 5}], "content of type int"),
    ],
)
def test_bad_messages_are_refused(llama: Llama, messages: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        llama.create_chat_completion(messages)


@pytest.mark.parametrize(
    "options",
    [
        {"functions": [{}]},
        {"function_call": "auto"},
        {"tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"grammar": "root ::= 'x'"},
        {"tools": [{"type": "function"}]},
    ],
)
def test_what_is_not_done_here_is_refused(llama: Llama, options: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        llama.create_chat_completion(HELLO, **options)


def test_harmless_values_of_those_are_accepted(llama: Llama) -> None:
    llama.create_chat_completion(
        HELLO, max_tokens=1, tool_choice="auto", response_format={"type": "text"}, functions=None
    )
    with pytest.raises(TypeError, match=r"create_chat_completion\(\) got an unexpected .* 'echo'"):
        llama.create_chat_completion(HELLO, echo=True)  # type: ignore[call-overload]


def test_a_conversation_longer_than_the_context_is_refused(talker: Path) -> None:
    with Llama(talker, n_ctx=16) as llama:
        long = [{"role": "user", "content": "the other " * 20}]
        for stream in (False, True):
            with pytest.raises(ContextOverflowError, match="does not fit into a context of 16"):
                llama.create_chat_completion(long, stream=stream)
