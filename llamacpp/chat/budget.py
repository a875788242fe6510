"""What one rendering of a chat template may use, and the reckoning of what it is about to use."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from jinja2 import Undefined

from llamacpp.errors import TemplateError

__all__ = [
    "GUARDS",
    "STAND_INS",
    "Budget",
    "current",
    "expand",
    "guard_operator",
    "join",
    "limit_items",
    "replace",
    "to_text",
    "weigh",
]

MAX_CHARS = 1 << 25  # of text made by one rendering, in all
MAX_ITEMS = 1 << 18  # in one collection, written out
MAX_ITEMS_MADE = 1 << 21  # in the collections made by one rendering, not written out
MAX_SECONDS = 5.0  # of CPU time
MAX_INT_BITS = 4096

_COLLECTIONS = (list, tuple, dict, set, frozenset)
_PLAIN = (str, int, float, bool, type(None), Undefined)


class Budget:
    """What one rendering may still use."""

    __slots__ = ("_chars", "_end", "_items")

    def __init__(self) -> None:
        self._chars = MAX_CHARS
        self._items = MAX_ITEMS_MADE
        # CPU time of this thread: a busy machine must not fail an honest template.
        self._end = time.thread_time() + MAX_SECONDS

    def tick(self) -> None:
        """Count one step."""
        if time.thread_time() > self._end:
            raise TemplateError(f"the chat template ran for more than {MAX_SECONDS:g} seconds")

    def admit(self, value: Any) -> Any:
        """Take note of a new value and return it."""
        self.tick()
        if isinstance(value, str):
            self.spend(len(value))
        elif isinstance(value, _COLLECTIONS):
            weigh(value)
            self._items -= len(value)
            if self._items < 0:
                raise TemplateError(
                    f"the chat template makes more than {MAX_ITEMS_MADE} items of collections"
                )
        elif isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
            raise TemplateError("the chat template makes a number of absurd size")
        return value

    def spend(self, chars: int) -> None:
        """Count `chars` characters that have been or would be made."""
        if chars > self._chars:
            raise TemplateError(f"the chat template makes more than {MAX_CHARS} characters of text")
        self._chars -= chars


current: ContextVar[Budget] = ContextVar("current")


def weigh(value: Any, printed: bool = False) -> tuple[int, int, int]:
    """Return the items, characters and depth of `value`, written out; `printed`: only plain data.

    Raises TemplateError above MAX_ITEMS, or if what is to be printed holds more than data.
    """
    items, chars, deepest = 1, 0, 0
    stack = [(value, 0)]
    while stack:
        inner, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(inner, str):
            chars += len(inner)
        elif isinstance(inner, _COLLECTIONS):
            current.get().tick()
            items += len(inner)
            limit_items(items)
            stack.extend((part, depth + 1) for part in inner)
            if isinstance(inner, dict):
                stack.extend((part, depth + 1) for part in inner.values())
        elif printed and not isinstance(inner, _PLAIN):
            raise TemplateError(f"the chat template prints a {type(inner).__name__}, not data")
    return items, chars, deepest


def limit_items(items: int) -> None:
    """Raise TemplateError if a collection of `items` is too large."""
    if items > MAX_ITEMS:
        raise TemplateError(f"the chat template makes a collection of more than {MAX_ITEMS} items")


def to_text(value: Any) -> str:
    """Return the text of what a template prints or joins, which counts as made."""
    budget = current.get()
    budget.tick()
    if not isinstance(value, str):
        items, chars, _ = weigh(value, printed=True)
        budget.spend(chars + 8 * items)
        value = str(value)
    budget.spend(len(value))
    return str(value)


# A width of five digits or more, one that comes from the values, or (for %) a named value.
_WIDTHS = {
    "%": re.compile(r"%\(|%[^a-zA-Z%]*(\*|\d{5})"),
    "{": re.compile(r"\{[^{}]*:[^{}]*(\{|\d{5})"),
}


def expand(budget: Budget, template: str, mark: str, values: Iterable[Any]) -> None:
    """Reckon what `%` or `str.format` may make of `template`, which decides on widths itself."""
    if _WIDTHS[mark].search(template):
        raise TemplateError("the chat template formats with a width that is not a small number")
    longest = max((weigh(value, printed=True)[1] for value in values), default=0)
    budget.spend(len(template) + template.count(mark) * (longest + 10_000))


# --- methods and operators that multiply ---------------------------------------------------------


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    """Do `text.replace(old, new, count)`, if the budget allows."""
    found = text.count(old) if count < 0 else min(count, text.count(old))
    current.get().spend(len(text) + found * len(new))
    return text.replace(old, new, count)


def join(separator: str, values: Iterable[Any]) -> str:
    """Do `separator.join` on the texts of `values`, if the budget allows."""
    parts = [to_text(value) for value in values]
    current.get().spend(len(separator) * len(parts))
    return separator.join(parts)


def _format(text: str, *args: Any, **kwargs: Any) -> None:
    expand(current.get(), text, "{", [*args, *kwargs.values()])


def _split(text: str, separator: str | None = None, *args: Any, **kwargs: Any) -> None:
    limit_items(text.count(separator) if separator else len(text) // 2)


# Either stand in for the method, or only look at the call before it is made.
STAND_INS: dict[str, Callable[..., Any]] = {"replace": replace, "join": join}
GUARDS: dict[str, Callable[..., None]] = {
    "format": _format,
    "format_map": _format,
    "split": _split,
    "rsplit": _split,
    "splitlines": lambda text, *args, **kwargs: limit_items(len(text) // 2),
}


def guard_operator(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Raise TemplateError if `left operator right` would exceed the budget."""
    if operator == "%" and isinstance(left, str):
        expand(budget, left, "%", right if isinstance(right, tuple) else [right])
    elif isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        if operator == "**" and bits > 1 and right > 0:
            bits *= right
        elif operator == "*":
            bits += right.bit_length()
        if bits > MAX_INT_BITS + 1:
            raise TemplateError("the chat template makes a number of absurd size")
    elif operator == "*":
        for sequence, times in ((left, right), (right, left)):
            if isinstance(sequence, str) and isinstance(times, int):
                budget.spend(len(sequence) * times)
            elif isinstance(sequence, (list, tuple)) and isinstance(times, int):
                limit_items(len(sequence) * times)
