"""bench/README.md names every command that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent.parent / "bench"
TEXT = (BENCH / "README.md").read_text(encoding="utf-8")


def test_every_command_is_explained() -> None:
    commands = {
        path.stem
        for path in BENCH.glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    named = set(re.findall(r"python -m bench\.(\w+)", TEXT))
    assert named == commands - {"standard"}  # which is `make bench`
    assert "make bench" in TEXT


def test_what_it_points_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", TEXT):
        assert (BENCH / target).exists(), target
    for target in re.findall(r"`(docs/[\w./-]+)`", TEXT):
        assert (BENCH.parent / target).exists(), target


def test_every_row_of_a_table_has_its_columns() -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", TEXT, re.M):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table
