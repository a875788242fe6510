"""Write the command reference of docs/cli.md from the parser itself.

    python -m tools.cli_reference

Everything above the marker in docs/cli.md is written by hand and stays as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from llamacpp.cli import build_parser

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
MARKER = "<!-- written by tools/cli_reference.py -->\n"


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The commands and their parsers."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def reference() -> str:
    """The reference of all commands, as Markdown."""
    sections = []
    for name, parser in commands():
        lines = [f"## llamacpp {name}", "", *_paragraphs(parser.description or ""), ""]
        rows = [_row(parser, action) for action in parser._actions if action.dest != "help"]
        if rows:
            lines += ["| argument | meaning |", "|---|---|", *rows, ""]
        sections.append("\n".join(lines))
    return "\n".join(sections)


def _paragraphs(description: str) -> list[str]:
    """Text as it is; a list in fixed columns as code."""
    text, _, table = description.partition("\n\n")
    return [text, "", "```text", table, "```"] if table else [text]


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    shown = f"{names} {value}".strip() if names else f"`{value}`"
    meaning = (action.help or "") % {**vars(action), "prog": parser.prog}
    return f"| {shown} | {meaning.replace('|', chr(92) + '|')} |"


def page(current: str) -> str:
    """The page with its reference brought up to date."""
    by_hand, marker, _ = current.partition(MARKER)
    if not marker:
        raise SystemExit(f"{PAGE} has no line {MARKER!r}")
    return by_hand + marker + "\n" + reference()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
