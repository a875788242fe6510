"""A chat template: from messages to the prompt that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from llamacpp.chat.messages import normalize
from llamacpp.errors import InvalidArgumentError, TemplateError, UnsupportedError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["ChatTemplate"]

_RESERVED = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "strftime_now")


class ChatTemplate:
    """A Jinja chat template, run in a sandbox under limits (see `llamacpp.chat.sandbox`).

    `source` is what `tokenizer.chat_template` holds, in the dialect of Hugging Face: whitespace
    control as there, loop controls, `tojson`, `raise_exception`, `strftime_now`. It is compiled
    when it is first rendered, so a file's template costs nothing, and does nothing, until used.

    `bos_token` and `eos_token` are their texts; `now` is the clock behind `strftime_now`.
    """

    def __init__(
        self,
        source: str,
        bos_token: str = "",
        eos_token: str = "",
        *,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._now = now
        self._compiled: Template | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **extra: Any,
    ) -> str:
        """Return the prompt for `messages`; `extra` are further variables of the template.

        With `add_generation_prompt` it ends where the assistant's answer begins.

        Raises InvalidArgumentError for malformed messages, UnsupportedError for tools that the
        template has no place for, TemplateError if it is faulty, refuses the conversation, or
        exceeds its limits.
        """
        for name in extra:
            if name in _RESERVED:
                raise InvalidArgumentError(f"{name} is not free: the template gets its own")
        conversation = normalize(messages)
        if tools and "tools" not in self.source:
            raise UnsupportedError(
                "tools were given, but this chat template has no place for them; "
                "leave them out or choose another template by chat_format="
            )
        # Jinja costs 50 ms to import: only those who chat pay for it.
        from llamacpp.chat import sandbox

        if self._compiled is None:
            self._compiled = sandbox.compile_source(self.source)
        variables = {
            **extra,
            "messages": conversation,
            "tools": list(tools) if tools else None,
            "add_generation_prompt": add_generation_prompt,
            "bos_token": self.bos_token,
            "eos_token": self.eos_token,
            "strftime_now": self._strftime_now,
        }
        return sandbox.render(self._compiled, variables)

    def _strftime_now(self, format: str) -> str:
        if not isinstance(format, str) or len(format) > 200:
            raise TemplateError("the chat template asks for the date in a format of absurd size")
        return self._now().strftime(format)
