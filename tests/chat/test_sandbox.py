"""Hostile templates: no way out of the sandbox, and no way to use up the machine."""

from __future__ import annotations

import time

import pytest

from llamacpp.chat import ChatTemplate, budget, sandbox
from llamacpp.errors import TemplateError

USER = [{"role": "user", "content": "Hello"}]


def run(source: str, **extra: object) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(USER, **extra)


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__ }}",
    "{{ messages[0].__class__.__base__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ('__cla' ~ 'ss__') and (''|attr('__cla' ~ 'ss__')) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__self__ }}",
    "{{ strftime_now.__func__.__globals__ }}",
    "{{ range.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m._func.__code__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{x.__class__}'.format(x='') }}",
    "{{ ['{0.__class__}']|map(attribute='format')|list }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ messages|sort(attribute='__class__') }}{{ messages[0].__class__ }}",
    "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "{{ messages|map('attr', '__class__')|list }}",
    "{{ messages|attr('__len__') }}",
    "{{ ''.encode().__class__ }}",
    "{{ (1).__class__ }}",
    "{{ (1.5).__class__.__base__ }}",
    "{{ none.__class__ }}",
    "{{ undefined_name.__class__ }}",
    "{{ dict.__base__ }}",
    "{{ ([].append).__self__.__class__ }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_python_is_out_of_reach(source: str) -> None:
    try:
        text = run(source)
    except TemplateError:
        return
    # What is undefined may print as nothing, but never as something of Python's.
    assert "class" not in text
    assert "<" not in text


@pytest.mark.parametrize(
    "source",
    [
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__ }}",
        "{{ joiner(',') }}",
        "{{ lipsum(10) }}",
        "{{ 'x'|pprint }}",
        "{{ [1,2]|random }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{% do messages.append(1) %}",
        "{% debug %}",
    ],
)
def test_only_what_templates_need_is_there(source: str) -> None:
    with pytest.raises(TemplateError):
        run(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages.pop() }}",
        "{{ messages.clear() }}",
        "{{ messages.extend([1]) }}",
        "{{ messages.insert(0, 1) }}",
        "{{ messages.reverse() }}",
        "{{ messages.sort() }}",
        "{{ messages[0].update({'content': 'x'}) }}",
        "{{ messages[0].pop('content') }}",
        "{{ messages[0].setdefault('y', 1) }}",
        "{{ messages[0].clear() }}",
        "{{ messages[0].popitem() }}",
    ],
)
def test_what_a_template_is_given_cannot_be_changed(source: str) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    with pytest.raises(TemplateError, match="does what it may not: access to attribute"):
        ChatTemplate(source).render(messages)
    assert messages == [{"role": "user", "content": "Hello"}]


NS = "{% set ns = namespace(x='0123456789' * 1000, l=[1], t=(1,), d={}, n=2, i=0) %}"
DOUBLE = "{% for i in range(200) %}"
END = "{% endfor %}"

GREEDY = {
    # text
    "repetition": "{{ 'a' * 10**9 }}",
    "repetition by the left": "{{ 10**9 * 'a' }}",
    "doubled sum": NS + DOUBLE + "{% set ns.x = ns.x + ns.x %}" + END,
    "doubled join": NS + DOUBLE + "{% set ns.x = ns.x ~ ns.x %}" + END,
    "doubled block": NS + DOUBLE + "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}"
    "{% set ns.x = y %}" + END,
    "wide block": NS + "{% set y %}{% for i in range(100000) %}{{ ns.x }}{% endfor %}{% endset %}",
    "macro": "{% macro m() %}{% for i in range(100000) %}" + "y" * 5000 + "{% endfor %}"
    "{% endmacro %}{% set x = m() %}",
    "output": "{% for i in range(100000) %}" + "y" * 5000 + "{% endfor %}",
    "filter block": NS + "{% filter upper %}{% for i in range(100000) %}{{ ns.x }}{% endfor %}"
    "{% endfilter %}",
    "replace": NS + "{{ ('a' * 100000)|replace('a', ns.x) }}",
    "replace method": NS + "{{ ('a' * 100000).replace('a', ns.x) }}",
    "replace of nothing": NS + "{{ ('a' * 100000).replace('', ns.x) }}",
    "join": NS + "{{ range(100000)|join(ns.x) }}",
    "join method": NS + "{{ ns.x.join(['a'] * 100000) }}",
    "join of an attribute": NS + "{{ [{'a': ns.x}] * 100000 | int and"
    " ([{'a': ns.x}] * 20000)|join(attribute='a') }}",
    "indent": NS + "{{ ('a\n' * 10000)|indent(100000) }}",
    "indent by text": NS + "{{ ('a\n' * 10000)|indent(ns.x) }}",
    "json": NS + "{{ [ns.x] * 100000 | int and ([ns.x] * 10000)|tojson }}",
    "indented json": "{{ ([[[1]]] * 10000)|tojson(indent=100000) }}",
    "printed list": NS + "{{ [ns.x] * 10000 }}",
    "text of a list": NS + "{{ ([ns.x] * 10000)|string|length }}",
    # width
    "padding": "{{ '%1000000000d' % 1 }}",
    "padding by a value": "{{ '%*d' % (1000000000, 1) }}",
    "padding of a name": "{{ '%(a)1000000000d' % {'a': 1} }}",
    "format filter": "{{ '%1000000000d'|format(1) }}",
    "str.format": "{{ '{:>1000000000}'.format(1) }}",
    "str.format_map": "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "str.format_map of much": NS + "{{ ('{a}' * 10000).format_map({'a': ns.x}) }}",
    "str.format by a value": "{{ '{:{}}'.format(1, 1000000000) }}",
    "format many": NS + "{{ ('%s' * 10000)|format(*([ns.x] * 10000)) }}",
    "str.format many": NS + "{{ ('{0}' * 10000).format(ns.x) }}",
    # collections
    "list": "{{ ([1] * 10**9)|length }}",
    "tuple": "{{ ((1,) * 10**9)|length }}",
    "doubled list": NS + DOUBLE + "{% set ns.l = ns.l + ns.l %}" + END,
    "nested list": NS + DOUBLE + "{% set ns.l = [ns.l, ns.l] %}" + END + "{{ ns.l }}",
    "nested tuple": NS + DOUBLE + "{% set ns.t = (ns.t, ns.t) %}" + END + "{{ {ns.t: 1} }}",
    "nested dict": NS
    + DOUBLE
    + "{% set ns.d = {'a': ns.d, 'b': ns.d} %}"
    + END
    + "{{ ns.d|tojson }}",
    "nested dict of the global": NS + DOUBLE + "{% set ns.d = dict(a=ns.d, b=ns.d) %}" + END,
    "nested by map": NS + "{% for i in range(9) %}"
    "{% set ns.l = range(1000)|map('string')|map('default', 1)|list %}"
    "{% set ns.l = [none.x]*1000 %}{% set ns.d = ns.l|map('default', range(1000)|list)|list %}"
    "{% endfor %}",
    "split": "{{ ('a,' * 1000000).split(',')|length }}",
    "split at spaces": "{{ ('a ' * 1000000).split()|length }}",
    "lines": "{{ ('a\n' * 1000000).splitlines()|length }}",
    "words": "{{ ('a-' * 1000000)|title }}",
    "lines to indent": "{{ ('\n' * 1000000)|indent }}",
    "list of characters": "{{ ('a' * 1000000)|list|length }}",
    "range": "{{ range(10**9)|list }}",
    "many lists": "".join(f"{{% set x{i} = range(99999)|list %}}" for i in range(1000)),
    # numbers
    "power": "{{ 10 ** 10000000000 }}",
    "squares": NS + DOUBLE + "{% set ns.n = ns.n * ns.n %}" + END,
    "negative base": "{{ (-3) ** 100000000 }}",
    "round": "{{ 1.5|round(1000000000, 'ceil') }}",
    # depth
    "macro recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "loop recursion": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "block recursion": "{% block b %}{{ self.b() }}{% endblock %}",
    "deep nesting": NS + "{% for i in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
    # dates
    "date": "{{ strftime_now('%Y' * 1000) }}",
}


@pytest.mark.parametrize("source", GREEDY.values(), ids=GREEDY)
def test_what_multiplies_is_stopped_before_it_does(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "MAX_SECONDS", 0.3)
    start = time.thread_time()
    with pytest.raises(TemplateError):
        run(source)
    assert time.thread_time() - start < 5.0


ENDLESS = {
    "nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% set x = 1 %}"
    "{% endfor %}{% endfor %}",
    "one range, twice": "{% set r = range(99999) %}{% for a in r %}{% for b in r %}"
    "{% endfor %}{% endfor %}",
    "over a text": "{% set s = 'a' * 99999 %}{% for a in s %}{% for b in s %}{% endfor %}"
    "{% endfor %}",
    "filtered loop": "{% for a in range(99999) %}{% for b in range(99999) if false %}"
    "{% endfor %}{% endfor %}",
    "macros by twos": "{% macro m(n) %}{% if n %}{% set a = m(n - 1) %}{% set b = m(n - 1) %}"
    "{% endif %}{% endmacro %}{{ m(60) }}",
    "membership": "{% set r = range(99999)|list %}{% for a in r %}{% if -a in r %}{% endif %}"
    "{% endfor %}",
    "membership by filter": "{% set r = range(1, 99999)|list %}"
    "{{ range(-99999, 0)|select('in', r)|list|length }}",
    "comparisons": "{% set r = range(99999)|list %}{% set s = range(99999)|list %}"
    + "{% if r == s %}{% endif %}" * 2000,
    "slices": "{% set r = range(99999)|list %}" + "{% set s = r[1:] %}" * 2000,
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_SECONDS", 0.2)
    start = time.thread_time()
    with pytest.raises(TemplateError, match=r"ran for more than 0\.2 seconds"):
        run(source)
    assert time.thread_time() - start < 5.0


def test_nothing_runs_before_it_is_rendered() -> None:
    # Constant expressions, which Jinja's compiler would evaluate.
    for source in (
        "{{ 'a'|upper }}",
        "{{ 'a'|replace('a', 'b') }}{% if 'A'|lower == 'a' %}x{% endif %}",
    ):
        compiled = sandbox.compile_source(source)
        with pytest.raises(LookupError):  # no budget: only `render` gives one
            compiled.render()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "line 1 of the chat template is not valid Jinja"),
        ("\n\n{{ x | nofilter }}", "line 3 of the chat template is not valid Jinja: No filter"),
        ("{% for x in y %}", "not valid Jinja"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "cannot be compiled: RecursionError"),
        ("{% for x in y %}" * 200 + "{% endfor %}" * 200, "cannot be compiled"),
        ("x" * 200_000, "has 200000 characters, more than the 65536 allowed"),
        ("{{ 1 / 0 }}", "failed: ZeroDivisionError"),
        ("{{ messages[0].content + 1 }}", "failed: TypeError"),
        ("{{ nothing.at.all }}", "failed: UndefinedError: 'nothing' is undefined"),
        ("{{ raise_exception('Only two roles!') }}", "refuses the conversation: Only two roles!"),
        ("{{ messages|map('upper') }}", "prints a generator, not data"),
        ("{{ [raise_exception] }}", "prints a function, not data"),
        ("{{ namespace(a=1) }}", "prints a Namespace, not data"),
        ("{{ 'a' * 10**9 }}", "makes more than 33554432 characters of text"),
        ("{{ [1] * 10**9 }}", "makes a collection of more than 262144 items"),
        ("{{ 10 ** 10000000000 }}", "makes a number of absurd size"),
        ("{{ '%99999d' % 1 }}", "formats with a width that is not a small number"),
    ],
)
def test_the_message_says_what_is_wrong(source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        run(source)


def test_a_failed_rendering_leaves_the_next_its_whole_budget() -> None:
    template = ChatTemplate("{{ 'a' * n }}")
    for _ in range(3):
        with pytest.raises(TemplateError):
            template.render(USER, n=budget.MAX_CHARS + 1)
        assert len(template.render(USER, n=budget.MAX_CHARS // 4)) == budget.MAX_CHARS // 4


def test_a_long_honest_conversation_is_within_the_limits() -> None:
    turn = "word " * 2000
    messages = [{"role": ("user", "assistant")[i % 2], "content": turn} for i in range(300)]  # 3 MB
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content|trim"
        " + '<|im_end|>' ~ '\n' }}{% endfor %}"
    )
    assert ChatTemplate(source).render(messages).count("<|im_end|>") == 300
