"""Chat formats by name, for files without a template, and the choice among all that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llamacpp.chat.template import ChatTemplate
from llamacpp.errors import InvalidArgumentError

__all__ = ["ChatFormat", "format_names", "resolve"]


class _Format(NamedTuple):
    source: str
    stop: tuple[str, ...]
    # Control tokens that tell that a vocabulary was made for this format; none: no sign of it.
    tokens: tuple[str, ...] = ()


# Formats without a place for system messages put them in front of the next message of the user.
_HELD_SYSTEM = """
{%- set held = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set held.system = held.system + SYSTEM -%}
{%- elif message.role == 'assistant' -%}
ASSISTANT
{%- else -%}
USER
{%- set held.system = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if held.system -%}
{{- raise_exception('a system message has to be followed by a message of the user') -}}
{%- endif -%}
"""


def _held(system: str, user: str, assistant: str) -> str:
    """Fill in expressions; `held.system` is the text of the system messages before `user`."""
    parts = {"SYSTEM": system, "USER": "{{- " + user + " -}}"}
    parts["ASSISTANT"] = "{{- " + assistant + " -}}"
    source = _HELD_SYSTEM.strip()
    for name, part in parts.items():
        source = source.replace(name, part)
    return source


def _turns(each: str, opening: str) -> str:
    """Return a template that writes `each` message, then `opening` for the answer."""
    return (
        "{%- for message in messages -%}{{- " + each + " -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- " + opening + " -}}{%- endif -%}"
    )


_CHATML = _turns(
    r"'<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n'",
    r"'<|im_start|>assistant\n'",
)

_FORMATS = {
    "llama-2": _Format(
        _held(
            r"'<<SYS>>\n' + message.content + '\n<</SYS>>\n\n'",
            "bos_token + '[INST] ' + held.system + message.content + ' [/INST]'",
            "' ' + message.content + ' ' + eos_token",
        ),
        ("[INST]",),
    ),
    "llama-3": _Format(
        "{{- bos_token -}}"
        + _turns(
            r"'<|start_header_id|>' + message.role + '<|end_header_id|>\n\n'"
            " + message.content|trim + '<|eot_id|>'",
            r"'<|start_header_id|>assistant<|end_header_id|>\n\n'",
        ),
        ("<|eot_id|>", "<|end_of_text|>"),
        ("<|start_header_id|>", "<|eot_id|>"),
    ),
    "chatml": _Format(_CHATML, ("<|im_end|>",), ("<|im_start|>", "<|im_end|>")),
    "qwen": _Format(
        "{%- if messages[0].role != 'system' -%}"
        r"{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}"
        "{%- endif -%}" + _CHATML,
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "gemma": _Format(
        "{{- bos_token -}}"
        + _held(
            r"message.content + '\n\n'",
            r"'<start_of_turn>' + message.role + '\n' + held.system + message.content|trim"
            r" + '<end_of_turn>\n'",
            r"'<start_of_turn>model\n' + message.content|trim + '<end_of_turn>\n'",
        )
        + r"{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}",
        ("<end_of_turn>",),
        ("<start_of_turn>", "<end_of_turn>"),
    ),
    "phi-3": _Format(
        _turns(
            r"'<|' + message.role + '|>\n' + message.content + '<|end|>\n'", r"'<|assistant|>\n'"
        ),
        ("<|end|>", "<|endoftext|>"),
        ("<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "zephyr": _Format(
        _turns(
            r"'<|' + message.role + '|>\n' + message.content + eos_token + '\n'",
            r"'<|assistant|>\n'",
        ),
        ("<|user|>", "<|system|>"),
    ),
    "mistral-instruct": _Format(
        "{{- bos_token -}}"
        + _held(
            r"message.content + '\n\n'",
            "'[INST] ' + held.system + message.content + ' [/INST]'",
            "' ' + message.content + eos_token",
        ),
        ("[INST]",),
    ),
    "vicuna": _Format(
        "{%- if messages[0].role != 'system' -%}"
        "{{- 'A chat between a curious user and an artificial intelligence assistant. The assistant"
        " gives helpful, detailed, and polite answers to the user\\'s questions. ' -}}{%- endif -%}"
        + _turns(
            "message.content + ' ' if message.role == 'system' else"
            " 'ASSISTANT: ' + message.content + eos_token if message.role == 'assistant' else"
            " 'USER: ' + message.content + ' '",
            "'ASSISTANT:'",
        ),
        ("USER:",),
    ),
    "alpaca": _Format(
        _turns(
            r"message.content + '\n\n' if message.role == 'system' else"
            r" '### Response:\n' + message.content + '\n\n' if message.role == 'assistant' else"
            r" '### Instruction:\n' + message.content + '\n\n'",
            r"'### Response:\n'",
        ),
        ("### Instruction:",),
    ),
    "plain": _Format(
        _turns(
            r"message.content + '\n\n' if message.role == 'system' else"
            r" message.role|capitalize + ': ' + message.content + '\n'",
            "'Assistant:'",
        ),
        ("\nUser:",),
    ),
}


def format_names() -> list[str]:
    """Return the names of the formats built in, sorted."""
    return sorted(_FORMATS)


@dataclass(frozen=True)
class ChatFormat:
    """How to write a conversation for a model, and where its answer ends.

    `stop` holds strings that end an answer, beside the model's own end-of-generation tokens.
    `tool_template` replaces `template` where tools are given.
    """

    name: str
    template: ChatTemplate
    stop: tuple[str, ...] = ()
    tool_template: ChatTemplate | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **extra: Any,
    ) -> str:
        """Return the prompt; see `ChatTemplate.render`."""
        template = self.tool_template if tools and self.tool_template else self.template
        return template.render(messages, add_generation_prompt, tools, **extra)


def resolve(
    template: str | None = None,
    named_templates: Mapping[str, str] | None = None,
    chat_format: str | ChatTemplate | ChatFormat | None = None,
    *,
    bos_token: str = "",
    eos_token: str = "",
    has_token: Callable[[str], bool] | None = None,
) -> ChatFormat:
    """Choose the format of a model's conversations.

    `template` is the file's `tokenizer.chat_template`, `named_templates` its
    `tokenizer.chat_template.NAME`, `has_token` tells whether a text is one token of its vocabulary.
    In this order:

    1. `chat_format`: an object of ours, the name of a built-in format or of one of the file's
       templates, or Jinja source (anything with "{%" or "{{" in it);
    2. the file's template, with the one named `tool_use` where tools are given;
    3. the built-in format whose control tokens the vocabulary has;
    4. `plain`: lines that begin with "User:" and "Assistant:", which every model can follow.

    Raises InvalidArgumentError for an unknown name, listing the known ones.
    """
    named = named_templates or {}

    def of(source: str) -> ChatTemplate:
        return ChatTemplate(source, bos_token, eos_token)

    if isinstance(chat_format, ChatFormat):
        return chat_format
    if isinstance(chat_format, ChatTemplate):
        return ChatFormat("custom", chat_format)
    if chat_format is not None:
        if chat_format in _FORMATS:
            return ChatFormat(
                chat_format, of(_FORMATS[chat_format].source), _FORMATS[chat_format].stop
            )
        if chat_format in named:
            return ChatFormat(chat_format, of(named[chat_format]))
        if "{%" in chat_format or "{{" in chat_format:
            return ChatFormat("custom", of(chat_format))
        known = ", ".join([*format_names(), *sorted(named)])
        raise InvalidArgumentError(
            f"there is no chat format {chat_format!r}; known are {known}, or give Jinja source"
        )
    default = template if template is not None else named.get("default")
    if default is not None:
        tool_use = named.get("tool_use")
        return ChatFormat("file", of(default), (), of(tool_use) if tool_use else None)
    for name, known_format in _FORMATS.items():
        tokens = known_format.tokens
        if has_token is not None and tokens and all(map(has_token, tokens)):
            return ChatFormat(name, of(known_format.source), known_format.stop)
    return ChatFormat("plain", of(_FORMATS["plain"].source), _FORMATS["plain"].stop)
