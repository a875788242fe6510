"""The messages of a conversation, checked and brought into the form that templates expect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llamacpp.errors import InvalidArgumentError, UnsupportedError

__all__ = ["normalize"]


def normalize(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `messages` as new dicts, with content that is text.

    A list of parts `{"type": "text", "text": ...}` becomes their texts, one a line. No content
    (None, or absent) becomes "", but None in a message that calls tools or functions: templates
    that know about those look for it. Other keys are kept as they are.

    Raises InvalidArgumentError, naming the message, for anything else; UnsupportedError for parts
    that are no text.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise InvalidArgumentError(
            f"messages is a {type(messages).__name__}; it must be a list of messages, "
            'such as [{"role": "user", "content": "Hello"}]'
        )
    if not messages:
        raise InvalidArgumentError("messages is empty; a conversation needs at least one")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidArgumentError(
            f"{where} is a {type(message).__name__}; it must be a dict with role and content"
        )
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidArgumentError(
            f"{where} has the role {role!r}; it must be a string such as 'user'"
        )
    calls = message.get("tool_calls") or message.get("function_call")
    return {**message, "content": _content(message.get("content"), bool(calls), where)}


def _content(content: Any, calls: bool, where: str) -> str | None:
    if content is None:
        return None if calls else ""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        raise InvalidArgumentError(
            f"{where} has content of type {type(content).__name__}; "
            "it must be a string, a list of text parts, or None"
        )
    return "\n".join(_part(part, f"{where}.content[{i}]") for i, part in enumerate(content))


def _part(part: Any, where: str) -> str:
    if not isinstance(part, Mapping):
        raise InvalidArgumentError(f'{where} must be a dict such as {{"type": "text", "text": ""}}')
    kind, text = part.get("type"), part.get("text")
    if kind != "text":
        raise UnsupportedError(f"{where} is of type {kind!r}; only parts of type 'text' are run")
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{where} has the text {text!r}; it must be a string")
    return text
