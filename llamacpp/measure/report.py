"""Results as a table to read, and as JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from llamacpp.measure.benchmark import Result

__all__ = ["FORMATS", "as_csv", "as_json", "as_markdown", "markdown_table"]

NOTHING = "–"


def as_json(results: Sequence[Result], version: str) -> str:
    """A list of objects, one for each result, with the fields of `Result` and the version."""
    return json.dumps([_with_version(r, version) for r in results], indent=1, allow_nan=False)


def as_csv(results: Sequence[Result], version: str) -> str:
    """A header and a line for each result; samples are separated by spaces."""
    names = [*(field.name for field in fields(Result)), "version"]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for result in results:
        row = _with_version(result, version)
        writer.writerow({**row, "samples_ts": " ".join(map(str, result.samples_ts))})
    return out.getvalue().rstrip("\n")


def _with_version(result: Result, version: str) -> dict[str, object]:
    return {**asdict(result), "version": version}


# ---- the table ----------------------------------------------------------------------------------

# Title, and what a result has there; None is a dash.
COLUMNS: dict[str, Callable[[Result], str | None]] = {
    "model": lambda r: Path(r.model_filename).stem,
    "size": lambda r: _size(r.model_size),
    "type": lambda r: r.model_type,
    "threads": lambda r: str(r.n_threads),
    "level": lambda r: r.level,
    "test": lambda r: r.test,
    "t/s": lambda r: f"{r.avg_ts:.2f} ± {r.stddev_ts:.2f}",
    "GB/s": lambda r: f"{r.gbps:.1f}" if _reads(r) else None,
    "of read": lambda r: _percent(r.read_share) if _reads(r) else None,
    "GOP/s": lambda r: f"{r.gops:.0f}" if _multiplies(r) else None,
    "of int8": lambda r: _percent(r.int8_share) if _multiplies(r) else None,
    "private MB": lambda r: _megabytes(r.private_bytes),
    "shared MB": lambda r: _megabytes(r.shared_bytes),
}
N_TEXT = 6  # columns on the left that are words; numbers stand at the right


def as_markdown(results: Sequence[Result], version: str) -> str:
    """A table, and below it what it was measured on and the limits. Empty columns are left out."""
    rows = [[column(result) for column in COLUMNS.values()] for result in results]
    filled = [i for i in range(len(COLUMNS)) if any(row[i] is not None for row in rows)]
    table = markdown_table(
        [list(COLUMNS)[i] for i in filled],
        [[row[i] or NOTHING for i in filled] for row in rows],
        sum(i < N_TEXT for i in filled),
    )
    notes = [f"llamacpp {version}, {results[0].cpu_info}"] if results else []
    for n in dict.fromkeys(result.n_threads for result in results):
        same = [result for result in results if result.n_threads == n]
        read = max((r.read_gbps for r in same if r.read_gbps), default=None)
        int8 = max((r.int8_gops for r in same if r.int8_gops), default=None)
        if read and int8:
            words = f"{n} thread{'s' * (n != 1)}"
            notes.append(f"limits, {words}: {read:.1f} GB/s read, {int8:.0f} GOP/s int8")
    return "\n".join([table, *notes])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], n_text: int) -> str:
    """A table whose columns line up also where Markdown is not rendered.

    Args:
        header: titles.
        rows: cells, as many as titles.
        n_text: columns on the left that are text; the others stand at the right.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    rule = [
        "-" * width if i < n_text else "-" * (width - 1) + ":" for i, width in enumerate(widths)
    ]
    lines = []
    for cells in (header, rule, *rows):
        padded = [
            cell.ljust(width) if i < n_text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |\n")
    return "".join(lines)


def _reads(result: Result) -> bool:
    """Whether reading the weights may bound it: every decode."""
    return result.n_gen > 0


def _multiplies(result: Result) -> bool:
    """Whether multiplying may bound it: tokens share a reading of the weights."""
    return result.n_prompt > 0 or result.n_seq > 1


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _megabytes(nbytes: int | None) -> str | None:
    return None if nbytes is None else f"{nbytes / 1e6:.0f}"


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"


FORMATS: dict[str, Callable[[Sequence[Result], str], str]] = {
    "md": as_markdown,
    "json": as_json,
    "csv": as_csv,
}
