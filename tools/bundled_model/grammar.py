"""The template language of the story tables: choices, slots, articles and capitals.

`[a|b|c]` picks one alternative (nesting allowed, an alternative may be empty); `{slot}` is
replaced by the story's value for it, and `{Slot}` by the same with a capital. Afterwards
"a"/"an" and the capitals at sentence starts are put right, so tables need not care.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path

TABLES = Path(__file__).parent / "tables"

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_AN = re.compile(r"\b([Aa]) (?=[aeiouAEIOU]|hour|honest)")
_A_NOT_AN = re.compile(r"\b([Aa])n (?=uni|one\b|once\b)")
_START = re.compile(r'((?:^|[.!?] |[.] "|[.]" )"?)([a-z])')

Lists = dict[str, list[list[str]]]


def read_lists(path: Path) -> Lists:
    """The `@name` lists of a word table: each entry is the list of its `;`-parted fields."""
    lists: Lists = {}
    entries: list[list[str]] = []
    for line in _lines(path):
        if line.startswith("@"):
            entries = lists.setdefault(line[1:].split("#")[0].strip(), [])
        else:
            entries.append(line.split(";"))
    return lists


def read_groups(path: Path) -> dict[str, list[str]]:
    """The `* name` groups of a sentence table: each group is the list of its lines."""
    groups: dict[str, list[str]] = {}
    members: list[str] = []
    for line in _lines(path):
        if line.startswith("* "):
            members = groups.setdefault(line[2:].strip(), [])
        else:
            members.append(line)
    return groups


def _lines(path: Path) -> list[str]:
    """Lines that are neither empty nor comments."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("# ")]


def choose(template: str, rng: random.Random) -> str:
    """Resolve every `[a|b]`, innermost first."""
    while match := _CHOICE.search(template):
        pick = rng.choice(match.group(1).split("|"))
        template = template[: match.start()] + pick + template[match.end() :]
    return template


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace every `{slot}`; values may hold slots themselves. An unknown slot is a KeyError."""

    def value(match: re.Match[str]) -> str:
        key = match.group(1)
        if key in values:
            return values[key]
        text = values[key[0].lower() + key[1:]]
        return text[0].upper() + text[1:]

    while _SLOT.search(template):
        template = _SLOT.sub(value, template)
    return template


def polish(text: str) -> str:
    """Single spaces, "an" before vowels, a capital at every sentence start."""
    text = " ".join(text.split())
    text = _AN.sub(r"\1n ", text)
    text = _A_NOT_AN.sub(r"\1 ", text)
    return _START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def expand(template: str, values: Mapping[str, str], rng: random.Random) -> str:
    """Choices, then slots, then polish."""
    return polish(fill(choose(template, rng), values))
