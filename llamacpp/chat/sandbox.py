"""The room in which a model file's own chat template runs. Imports jinja2: import it late.

A template is code from whoever made the file (CVE-2024-34359 in llama-cpp-python was one rendered
in plain Jinja). Jinja's immutable sandbox keeps it from Python's internals and from changing what
it is given. It sets no limit on time and memory; these do:

- No loader, no includes; only the filters, methods and globals listed here.
- The parsed template is rewritten so that each loop step, output, comparison, slice and new
  collection passes through a `Budget`, which stops it once its CPU time or text is used up.
- What multiplies (`*`, `**`, replace, join, format, indent, tojson) is reckoned before it is done.
- Collections are weighed as if written out, so nesting one in itself twice, again and again,
  ends at `MAX_ITEMS` and not at 2^n.

What is left: one step may take as long as one linear operation on values of these sizes, some
0.1 s; memory may reach four bytes for each character and a hundred for each item made (0.4 GB for
a template that tries, all released with its error); and a template is compiled, a few seconds for
the worst of `MAX_SOURCE` characters, before any limit on time applies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from typing import Any

from jinja2 import Environment, Template, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.filters import FILTERS, do_indent
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from llamacpp.chat.budget import (
    GUARDS,
    STAND_INS,
    Budget,
    current,
    expand,
    guard_operator,
    join,
    limit_items,
    replace,
    to_text,
    weigh,
)
from llamacpp.errors import TemplateError

__all__ = ["compile_source", "render"]

MAX_SOURCE = 1 << 16  # characters of a template; the longest known have half of that

# fmt: off
_STR_METHODS = frozenset((
    "capitalize", "casefold", "count", "endswith", "find", "format", "index", "isalnum", "isalpha",
    "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper",
    "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind",
    "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip",
    "swapcase", "title", "upper",
))
_FILTERS = (
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first",
    "float", "forceescape", "groupby", "int", "items", "last", "length", "list", "lower", "map",
    "max", "min", "reject", "rejectattr", "reverse", "safe", "select", "selectattr", "sort",
    "title", "trim", "unique", "upper",
)
# fmt: on
_METHODS: dict[type, frozenset[str]] = {
    str: _STR_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index", "grouper", "list"}),  # the latter two of groupby
    int: frozenset(),
    float: frozenset({"is_integer"}),
    bytes: frozenset(),
}


# --- filters -------------------------------------------------------------------------------------


# Filters that make a list of a text's characters or words, or a number of its digits.
_SIZED = ("do_list", "do_sort", "do_unique", "do_groupby", "do_title", "do_int")


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its result is admitted; Jinja's marks on it are kept."""

    @wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in args[:2]:  # the value, maybe after Jinja's context
            if isinstance(value, str) and function.__name__ in _SIZED:
                limit_items(len(value))
        return current.get().admit(function(*args, **kwargs))

    return bounded


def _join_filter(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        environment = _environment()
        value = [environment.getitem(item, attribute) for item in value]
    return join(to_text(d), value)


def _replace_filter(s: Any, old: str, new: str, count: int | None = None) -> str:
    return replace(to_text(s), old, new, -1 if count is None else count)


def _format_filter(value: Any, *args: Any, **kwargs: Any) -> str:
    text = to_text(value)
    expand(current.get(), text, "%", [*args, *kwargs.values()])
    return text % (kwargs or args)


def _indent_filter(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    lines = 1 + sum(map(s.count, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
    limit_items(lines)
    step = len(width) if isinstance(width, str) else width
    current.get().spend(len(s) + lines * max(0, step))
    return do_indent(s, width, first, blank)


def _round_filter(value: float, precision: int = 0, method: str = "common") -> float:
    if not -30 <= precision <= 30:
        raise TemplateError(f"the chat template rounds to {precision} digits")
    return float(FILTERS["round"](value, precision, method))


def _tojson_filter(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face's templates expect it: not escaped for HTML, not confined to ASCII."""
    if indent is not None and not isinstance(indent, int):
        raise TemplateError(f"the chat template indents JSON by {indent!r}, which is no number")
    items, chars, depth = weigh(value, printed=True)
    around = sum(map(len, separators or ())) + (indent or 0) * depth + 8
    budget = current.get()
    budget.spend(chars + items * around)
    text = json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    budget.spend(len(text))
    return text


@pass_context
def _emit(context: Context, value: Any) -> str:
    # Asking for the context keeps Jinja from evaluating constant output when it compiles.
    return to_text(value)


def _each(values: Iterable[Any]) -> Iterator[Any]:
    budget = current.get()
    for value in values:
        budget.tick()
        yield value


# Their names cannot be written in a template.
_EMIT, _EACH, _ADMIT, _CONCAT = " emit", " each", " admit", " concat"


# --- the environment -----------------------------------------------------------------------------


class _Rewriter(NodeTransformer):
    """Passes what a template does through its budget."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        node = super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.Output):
            node.nodes = [_filter(_EMIT, child) for child in node.nodes]
        elif isinstance(node, nodes.For):
            node.iter = _filter(_EACH, node.iter)
        elif isinstance(node, nodes.Concat):
            return _filter(_CONCAT, nodes.List(node.nodes, lineno=node.lineno))
        elif (
            isinstance(node, (nodes.List, nodes.Dict, nodes.Compare))
            or (isinstance(node, nodes.Tuple) and node.ctx == "load")
            or (isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice))
        ):
            return _filter(_ADMIT, node)
        return node


def _filter(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}`, by which training templates mark the answer: here, just its body."""

    tags = {"generation"}  # noqa: RUF012  the attribute that Jinja reads

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow methods of plain data by name, and elsewhere what Jinja allows."""
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Reckon first, then do it."""
        budget = current.get()
        guard_operator(budget, operator, left, right)
        return budget.admit(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Reckon first, then do it."""
        method = getattr(__obj, "__wrapped__", __obj)
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, str):
            if name in STAND_INS:
                return current.get().admit(STAND_INS[name](owner, *args, **kwargs))
            if name in GUARDS:
                GUARDS[name](owner, *args, **kwargs)
        return current.get().admit(super().call(__context, __obj, *args, **kwargs))


class _Refusal(Exception):  # noqa: N818  no error of ours: the template's own word
    """What a template says by `raise_exception`."""


def _raise_exception(message: object) -> None:
    raise _Refusal(str(message)[:500])


@cache
def _environment() -> Environment:
    environment = _Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # nothing is evaluated before it is rendered
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters = {name: _bounded(FILTERS[name]) for name in _FILTERS}
    environment.filters |= {
        "format": _format_filter,
        "indent": _indent_filter,
        "join": _join_filter,
        "replace": _replace_filter,
        "round": _round_filter,
        "string": to_text,
        "tojson": _tojson_filter,
        _EMIT: _emit,
        _EACH: _each,
        _ADMIT: lambda value: current.get().admit(value),
        _CONCAT: lambda values: join("", values),
    }
    tests: dict[str, Any] = environment.tests
    environment.tests = {name: _bounded(test) for name, test in tests.items()}
    allowed = ("range", "dict", "namespace")
    environment.globals = {name: environment.globals[name] for name in allowed}
    environment.globals["raise_exception"] = _raise_exception
    return environment


def compile_source(source: str) -> Template:
    """Return the compiled template, no part of which has been run. Raises TemplateError."""
    if len(source) > MAX_SOURCE:
        raise TemplateError(
            f"the chat template has {len(source)} characters, more than the {MAX_SOURCE} allowed"
        )
    environment = _environment()
    try:
        tree = _Rewriter().visit(environment.parse(source))
        code = environment.compile(tree)
        return Template.from_code(environment, code, environment.globals)
    except TemplateSyntaxError as error:
        raise TemplateError(
            f"line {error.lineno} of the chat template is not valid Jinja: {error.message}"
        ) from None
    except Exception as error:  # nesting beyond Python's own limits, and whatever else it can do
        raise TemplateError(f"the chat template cannot be compiled: {_words(error)}") from error


def render(template: Template, variables: Mapping[str, Any]) -> str:
    """Return the text of `template` under a fresh budget. Raises only TemplateError."""
    token = current.set(Budget())
    try:
        return template.render(variables)
    except TemplateError:
        raise
    except SecurityError as error:
        raise TemplateError(f"the chat template does what it may not: {error}") from None
    except _Refusal as error:
        raise TemplateError(f"the chat template refuses the conversation: {error}") from None
    except Exception as error:  # whatever a stranger's code may raise
        raise TemplateError(f"the chat template failed: {_words(error)}") from error
    finally:
        current.reset(token)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
