"""What tests find out about architectures: a table, printed by the run and kept in the docs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
HEADER = (
    "architecture", "configurations", "converts", "NMSE, F32 cache", "NMSE, F16 cache", "decodes",
    "batches", "quantised types",
)  # fmt: skip
UNKNOWN, YES, NO = "–", "yes", "**no**"


@dataclass
class Finding:
    """Of one architecture. What was not tried is empty."""

    configurations: list[str] = field(default_factory=list)
    converts: bool | None = None
    errors: dict[str, float] = field(default_factory=dict)  # worst, by type of cache
    decodes: bool | None = None
    batches: bool | None = None
    types: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """As a row of the table, without the name."""
        said = [_said(self.converts), *(self._error(kind) for kind in ("f32", "f16"))]
        said += [_said(self.decodes), _said(self.batches)]
        return [", ".join(self.configurations) or UNKNOWN, *said, ", ".join(self.types) or UNKNOWN]

    def add(self, cache: str, limit: float, errors: dict[str, float]) -> None:
        """Count errors by the way of evaluation, which hold if they are within the limit."""
        self.errors[cache] = max(self.errors.get(cache, 0.0), *errors.values())
        self.decodes = self.decodes is not False and errors["decoded"] <= limit
        self.batches = self.batches is not False and errors["batched"] <= limit

    def _error(self, cache: str) -> str:
        return f"{self.errors[cache]:.0e}" if cache in self.errors else UNKNOWN


def _said(value: bool | None) -> str:
    return UNKNOWN if value is None else YES if value else NO


def table(findings: dict[str, Finding]) -> str:
    """In Markdown."""
    rows = [HEADER, ("---",) * len(HEADER)]
    rows += [(f"`{name}`", *findings[name].cells()) for name in sorted(findings)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def page() -> dict[str, dict[str, str]]:
    """The rows of the page, by architecture and by the words of the header."""
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: dict(zip(HEADER[1:], cells.split(" | "), strict=True)) for name, cells in rows}
