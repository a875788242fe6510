"""The formats by name, spelled out, and the choice among them."""

from __future__ import annotations

import pytest

from llamacpp.chat import ChatFormat, ChatTemplate, format_names, resolve
from llamacpp.errors import InvalidArgumentError, TemplateError, UnsupportedError

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello!"}
AGAIN = {"role": "user", "content": "Bye"}
CONVERSATION = [SYSTEM, USER, ANSWER, AGAIN]

CHATML = (
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
    "<|im_start|>assistant\n"
)
EXPECTED = {
    "llama-2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Hello! </s>"
    "<s>[INST] Bye [/INST]",
    "llama-3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "chatml": CHATML,
    "qwen": CHATML,
    "gemma": "<s><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n"
    "<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n"
    "<start_of_turn>model\n",
    "phi-3": "<|system|>\nBe kind.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
    "<|user|>\nBye<|end|>\n<|assistant|>\n",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n"
    "<|user|>\nBye</s>\n<|assistant|>\n",
    "mistral-instruct": "<s>[INST] Be kind.\n\nHi [/INST] Hello!</s>[INST] Bye [/INST]",
    "vicuna": "Be kind. USER: Hi ASSISTANT: Hello!</s>USER: Bye ASSISTANT:",
    "alpaca": "Be kind.\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n"
    "### Instruction:\nBye\n\n### Response:\n",
    "plain": "Be kind.\n\nUser: Hi\nAssistant: Hello!\nUser: Bye\nAssistant:",
}


def of(name: str | None = None, **options: object) -> ChatFormat:
    return resolve(chat_format=name, bos_token="<s>", eos_token="</s>", **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_conversation_is_written_as_the_format_says(name: str) -> None:
    chosen = of(name)
    assert chosen.name == name
    assert chosen.render(CONVERSATION) == EXPECTED[name]


def test_every_format_is_spelled_out_here() -> None:
    assert format_names() == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_prompt_without_opening_ends_with_the_message(name: str) -> None:
    text = of(name).render([USER, ANSWER], add_generation_prompt=False)
    assert text.index("Hi") < text.index("Hello!")
    assert of(name).render([USER, ANSWER]).startswith(text)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_answer_that_runs_on_is_stopped(name: str) -> None:
    # What follows an answer in the conversation, written by the model itself, holds a stop string
    # (or the end token that the vocabulary knows).
    rest = EXPECTED[name].split("Hello!")[1]
    assert any(stop in rest for stop in (*of(name).stop, "</s>"))
    assert all(stop not in "Hello!" for stop in of(name).stop)


@pytest.mark.parametrize("name", ["vicuna", "qwen"])
def test_formats_that_were_trained_with_a_system_message_have_their_own(name: str) -> None:
    text = of(name).render([USER])
    assert "assistant" in text.split("Hi")[0]
    assert "Be kind." not in text


@pytest.mark.parametrize("name", ["llama-2", "gemma", "mistral-instruct"])
def test_a_system_message_that_would_be_lost_is_refused(name: str) -> None:
    with pytest.raises(TemplateError, match="has to be followed by a message of the user"):
        of(name).render([USER, SYSTEM])


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InvalidArgumentError, match=r"no chat format 'lama'; known are alpaca, "):
        of("lama")
    with pytest.raises(InvalidArgumentError, match=r"zephyr, rag, or give Jinja source"):
        of("lama", named_templates={"rag": "x"})


def test_the_files_template_is_the_default() -> None:
    chosen = of(template="{{ messages[0].content }}{{ eos_token }}")
    assert (chosen.name, chosen.stop, chosen.render([USER])) == ("file", (), "Hi</s>")
    assert of(named_templates={"default": "D"}).render([USER]) == "D"


def test_a_format_asked_for_comes_before_the_files() -> None:
    assert of("chatml", template="T").render(CONVERSATION) == CHATML
    assert of("rag", template="T", named_templates={"rag": "R"}).render([USER]) == "R"


def test_a_format_may_be_given_as_source_or_object() -> None:
    assert of("{{ bos_token }}{{ messages|length }}").render([USER]) == "<s>1"
    assert of("{% if true %}x{% endif %}").name == "custom"
    template = ChatTemplate("{{ 1 }}")
    assert of(template).template is template
    chosen = ChatFormat("mine", template, ("end",))
    assert of(chosen) is chosen


def test_tools_take_the_template_that_was_made_for_them() -> None:
    chosen = of(template="T", named_templates={"tool_use": "{{ tools|length }} tools"})
    assert chosen.render([USER]) == "T"
    assert chosen.render([USER], tools=[{"name": "f"}]) == "1 tools"


def test_built_in_formats_refuse_tools() -> None:
    with pytest.raises(UnsupportedError, match="no place for them"):
        of("chatml").render([USER], tools=[{"name": "f"}])


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ({"<|im_start|>", "<|im_end|>", "</s>"}, "chatml"),
        ({"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, "llama-3"),
        ({"<start_of_turn>", "<end_of_turn>"}, "gemma"),
        ({"<|user|>", "<|assistant|>", "<|system|>", "<|end|>"}, "phi-3"),
        ({"<|im_start|>"}, "plain"),
        (set(), "plain"),
    ],
)
def test_without_a_template_the_vocabulary_decides(tokens: set[str], expected: str) -> None:
    assert of(has_token=tokens.__contains__).name == expected


def test_without_a_template_or_a_vocabulary_lines_of_names_are_used() -> None:
    assert of().name == "plain"
