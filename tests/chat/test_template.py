"""Templates as files carry them: the dialect of Hugging Face, and the checking of messages."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llamacpp.chat import ChatTemplate
from llamacpp.errors import InvalidArgumentError, TemplateError, UnsupportedError
from llamacpp.format import ModelFile

CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye <b>&</b> ünïcode 你好"},
]


def run(source: str, messages: Any = None, **extra: Any) -> str:
    return ChatTemplate(source, "<s>", "</s>").render(messages or CONVERSATION, **extra)


def test_the_template_of_a_real_file(data_dir: Path) -> None:
    with ModelFile(data_dir / "vocab" / "qwen2.gguf") as file:
        source = file.metadata["tokenizer.chat_template"]
    assert isinstance(source, str)
    template = ChatTemplate(source)
    assert template.render(CONVERSATION) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye <b>&</b> ünïcode 你好<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert template.render(CONVERSATION[1:2], add_generation_prompt=False) == (
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
    )


def test_blocks_leave_no_whitespace_behind() -> None:
    source = "A\n  {% if true %}\n  B\n  {% endif %}\nC\n"
    assert run(source) == "A\n  B\nC"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}", "<s>|</s>|True"),
        ("{{ tools is none }} {{ documents is defined }}", "True False"),
        ("{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
         "{{ m['content'] }}{% break %}{% endfor %}", "Hi"),
        ("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}",
         "1/4False 2/4False 3/4False 4/4True "),
        ("{% for m in messages %}{{ loop.previtem.role if not loop.first }}>"
         "{{ loop.nextitem.role if not loop.last }} {% endfor %}",
         ">user system>assistant user>user assistant> "),
        ("{% for m in messages[::-1] %}{{ m.role[0] }}{% endfor %}", "uaus"),
        ("{% for k, v in messages[1].items() %}{{ k }}={{ v }};{% endfor %}",
         "role=user;content=Hi;"),
        ("{% for m in messages if m.role == 'user' %}{{ loop.index }}{% else %}none{% endfor %}",
         "12"),
        ("{% generation %}{{ messages[1].content }}{% endgeneration %}", "Hi"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
         "{% endfor %}{{ ns.n }}", "4"),
        ("{% macro say(m, end='.') %}{{ m.role ~ end }}{% endmacro %}{{ say(messages[0]) }}"
         "{{ say(messages[1], end='!') }}", "system.user!"),
        ("{{ {'b': [1, 'é<>&\\''], 'a': none} | tojson }}", '{"b": [1, "é<>&\'"], "a": null}'),
        ("{{ {'b': 1, 'a': [true]} | tojson(indent=2, sort_keys=true) }}",
         '{\n  "a": [\n    true\n  ],\n  "b": 1\n}'),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ '<b>' ~ \"'\" }}", "<b>'"),
        ("{{ 'a,b'.split(',')[-1].upper() }}", "B"),
        ("{{ '<think>x</think>\n\ny'.split('</think>')[-1].lstrip('\n') }}", "y"),
        ("{{ '  x '.strip() ~ 'ab'.startswith('a') ~ 'x-y'.replace('-', '+', 1) }}", "xTruex+y"),
        ("{{ 'a-b-c'|replace('-', '', 1) }} {{ ' s '|trim }} {{ 'xY'|lower|capitalize }}",
         "ab-c s Xy"),
        ("{{ messages|map(attribute='role')|join(', ') }}", "system, user, assistant, user"),
        ("{{ messages|join('/', attribute='role') }}", "system/user/assistant/user"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "2"),
        ("{{ messages|rejectattr('role', 'in', ['user'])|map(attribute='role')|list }}",
         "['system', 'assistant']"),
        ("{{ ', '.join(['a', 'b']) }} {{ ['b', 'a']|sort|first }} {{ [1, 1, 2]|unique|list }}",
         "a, b a [1, 2]"),
        ("{% for g in messages|groupby('role') %}{{ g.grouper }}{{ g.list|length }} {% endfor %}",
         "assistant1 system1 user2 "),
        ("{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}", "a\n  b|  a\n  b"),
        ("{{ '%s is %03d' % ('x', 7) }} {{ '%s!'|format('y') }} {{ '{}-{k}'.format(1, k=2) }}",
         "x is 007 y! 1-2"),
        ("{{ 'ab' * 3 }} {{ [1] * 2 }} {{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 1.5|round|int }}",
         "ababab [1, 1] 1024 3 3 2"),
        ("{{ messages[0] is mapping }} {{ messages is sequence }} {{ 'x' is string }}",
         "True True True"),
        ("{{ messages[0].name is defined }} {{ messages[0].name|default('-') }}", "False -"),
        ("{{ messages[0].content if messages[0].content is string else '?' }}", "Be kind."),
        ("{% set x %}a{{ 1 }}b{% endset %}{{ x|upper }}", "A1B"),
        ("{% filter upper %}abc{% endfilter %}", "ABC"),
        ("{{ 'ok' if 'kind' in messages[0].content and not ('x' in messages[0]) }}", "ok"),
        ("{{ dict(a=1)['a'] }} {{ {'a': {'b': 2}}.a.b }} {{ {'x': 1}.get('y', 0) }}", "1 2 0"),
        ("{{ range(3)|list }} {{ (1, 'a') }} {{ -1|abs }}", "[0, 1, 2] (1, 'a') 1"),
        ("{{ messages[0].content[:2] ~ messages[-1].role }}", "Beuser"),
        ("{{ undefined_name }}{{ undefined_name.x if undefined_name }}", ""),
    ],
)  # fmt: skip
def test_what_real_templates_use_works(source: str, expected: str) -> None:
    assert run(source) == expected


def test_the_date_comes_from_the_clock_that_was_given() -> None:
    template = ChatTemplate(
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}",
        now=lambda: datetime(2023, 3, 10),
    )
    assert template.render(CONVERSATION) == "10 Mar 2023"


def test_tools_and_other_variables_reach_the_template() -> None:
    source = "{{ tools|length }} {{ tools[0].name }} {{ enable_thinking }}"
    assert run(source, tools=[{"name": "f"}], enable_thinking=False) == "1 f False"


def test_tools_are_refused_where_they_would_be_lost() -> None:
    with pytest.raises(UnsupportedError, match="this chat template has no place for them"):
        run("{{ messages[0].content }}", tools=[{"name": "f"}])
    assert run("{{ messages[0].content }}", tools=[]) == "Be kind."


def test_the_templates_own_variables_cannot_be_replaced() -> None:
    with pytest.raises(InvalidArgumentError, match="bos_token is not free"):
        run("x", bos_token="y")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x", "x"),
        (None, ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([], ""),
    ],
)
def test_content_becomes_text(content: object, expected: str) -> None:
    message = {"role": "user", "content": content}
    assert run("{{ messages[0].content }}", [message]) == expected
    assert message["content"] is content


def test_missing_content_is_empty_unless_a_tool_is_called() -> None:
    source = "{{ messages[0].content is none }}{{ messages[0].content or '' }}"
    assert run(source, [{"role": "assistant"}]) == "False"
    assert run(source, [{"role": "assistant", "content": None, "tool_calls": [1]}]) == "True"


def test_other_keys_of_a_message_are_kept() -> None:
    message = {"role": "tool", "content": "x", "name": "f", "tool_call_id": "7"}
    assert run("{{ messages[0].name }}{{ messages[0].tool_call_id }}", [message]) == "f7"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "messages is a str; it must be a list of messages"),
        ({"role": "user"}, "messages is a dict"),
        (7, "messages is a int"),
        ([], "messages is empty"),
        (["hello"], r"messages\[0\] is a str; it must be a dict"),
        ([{"content": "x"}], r"messages\[0\] has the role None"),
        ([{"role": "user", "content": "x"}, {"role": 7}], r"messages\[1\] has the role 7"),
        ([{"role": "user", "content": 7}], r"messages\[0\] has content of type int"),
        ([{"role": "user", "content": ["x"]}], r"messages\[0\].content\[0\] must be a dict"),
        ([{"role": "user", "content": [{"type": "text", "text": 7}]}],
         r"messages\[0\].content\[0\] has the text 7"),
    ],
)  # fmt: skip
def test_malformed_messages_are_named(messages: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ChatTemplate("x").render(messages)


def test_parts_that_are_no_text_are_unsupported() -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(UnsupportedError, match=r"content\[0\] is of type 'image_url'"):
        run("x", [{"role": "user", "content": [image]}])


def test_a_template_is_neither_compiled_nor_run_until_it_is_used() -> None:
    broken = ChatTemplate("{% if %}")
    with pytest.raises(TemplateError):
        broken.render(CONVERSATION)


def test_importing_chat_does_not_import_jinja_or_numpy() -> None:
    code = (
        "import sys, llamacpp.chat as c; c.resolve('{{ x }}', chat_format='chatml');"
        "assert not {'jinja2', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
