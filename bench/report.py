"""Table and plots from results.json, without measuring: python -m bench.report DIR."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bench.analysis import limit, rates, ratio, share, spread, work_rate
from bench.machine import summary
from bench.results import Case, Results, ResultsError

__all__ = ["main", "table", "write"]

NOTHING = "–"
UNITS = {"read": "GB/s", "int8": "GOP/s"}


def main(argv: Sequence[str] | None = None) -> int:
    """Render a folder of results again; return 0, or 2 if it holds none."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds results.json")
    args = parser.parse_args(argv)
    try:
        results = Results.load(args.folder)
    except ResultsError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    plots = find_spec("matplotlib") is not None
    if not plots:
        print("no plots: they need matplotlib: pip install 'llamacpp[bench]'", file=sys.stderr)
    written = write(results, args.folder, plots=plots)
    print(table(results), end="")
    names = ", ".join(path.name for path in written)
    print(f"written to {args.folder}: {names}", file=sys.stderr)
    return 0


def write(results: Results, folder: Path, *, plots: bool) -> list[Path]:
    """Write table.md and, if asked, the plots into a folder; return their paths.

    Args:
        results: what to show.
        folder: holds results.json already.
        plots: whether to draw plots, for which matplotlib must be there.
    """
    path = folder / "table.md"
    path.write_text(table(results), encoding="utf-8")
    if not plots:
        return [path]
    from bench.plots import draw

    return [path, *draw(results, folder)]


def table(results: Results) -> str:
    """All numbers, as Markdown."""
    parts = [_head(results), _speed(results), _memory(results), _notes(results)]
    return "\n".join(part for part in parts if part)


def _head(results: Results) -> str:
    lines = [f"# Engines compared: {results.name}", ""]
    if not results.complete:
        lines += ["**Partial: the run was interrupted.**", ""]
    lines += [f"- {results.started}, {results.seconds:.0f} s, {summary(results.machine)}"]
    for name, about in results.engines.items():
        lines.append(
            f"- {name}: {about['name']} {about['version']}, Python {about['python']}: "
            f"{about['build']}"
        )
    rounds = results.settings["rounds"]
    lines.append(
        f"- Medians of {rounds} interleaved rounds. Ratios and shares of the limit are computed in "
        "each round; in brackets their smallest and largest."
    )
    others = spread([
        taken.others for case in results.cases for taken in case.rounds if taken.others is not None
    ])  # fmt: skip
    if others is not None:
        lines.append(
            f"- Meanwhile other programs had the time of {others.median:.2f} cores, at most "
            f"{others.high:.2f}. Near 0 is as it should be."
        )
    turns = sum(len(taken.order) for case in results.cases for taken in case.rounds)
    disturbed = sum(len(taken.disturbed) for case in results.cases for taken in case.rounds)
    if disturbed:
        lines.append(f"- In {disturbed} of {turns} turns the processors were not at full pace.")
    return "\n".join([*lines, ""])


def _markdown(header: list[str], rows: list[list[str]], n_text: int) -> str:
    """A table whose first `n_text` columns are text and the others numbers."""
    if not rows:
        return ""
    lines = [header, ["---"] * n_text + ["---:"] * (len(header) - n_text), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---- speed --------------------------------------------------------------------------------------


def _speed(results: Results) -> str:
    names = list(results.engines)
    if not names:
        return ""
    first, *others = names
    header = ["model", "test", "threads", *(f"{name}, tok/s" for name in names)]
    header += [f"{first} / {other}" for other in others]
    header += ["limit", f"{first} does", *(f"{name}, of limit" for name in names)]
    return _markdown(header, [_speed_row(results, case) for case in results.cases], 2)


def _speed_row(results: Results, case: Case) -> list[str]:
    first, *others = results.engines
    model = results.model(case.model)
    row = [case.model, case.test.name, str(case.threads)]
    row += [_rate(case, name) for name in results.engines]
    row += [_ratio(case, first, other) for other in others]
    bound = limit(case, model)
    if bound is None:
        return row + [NOTHING] * (2 + len(results.engines))
    unit = UNITS[bound.kind]
    done = work_rate(case, model, first, bound.kind)
    row.append(f"{bound.per_second / 1e9:.1f} {unit}")
    row.append(NOTHING if done is None else f"{done / 1e9:.1f} {unit}")
    for name in results.engines:
        part = share(case, model, name)
        row.append(NOTHING if part is None else f"{part.median:.0%}")
    return row


def _rate(case: Case, engine: str) -> str:
    """The median, or the first word of why there is none."""
    if engine in case.errors:
        return case.errors[engine].partition(":")[0]
    rate = spread(rates(case, engine))
    return NOTHING if rate is None else f"{rate.median:.{1 if rate.median < 1000 else 0}f}"


def _ratio(case: Case, engine: str, other: str) -> str:
    quotient = None if {engine, other} & case.errors.keys() else ratio(case, engine, other)
    if quotient is None:
        return NOTHING
    return f"{quotient.median:.2f} ({quotient.low:.2f}-{quotient.high:.2f})"


# ---- memory and notes ---------------------------------------------------------------------------


def _memory(results: Results) -> str:
    header = ["model", "engine", "threads", "sequences", "first open, s"]
    header += ["anonymous, MB", "mapped, MB", "Pss, MB"]
    rows = [
        [
            held.model, held.engine, str(held.threads), str(held.n_seq),
            f"{held.open_seconds:.3f}", *map(_megabytes, (held.anonymous, held.mapped, held.pss)),
        ]
        for held in results.memory
    ]  # fmt: skip
    return _markdown(header, rows, 2)


def _megabytes(nbytes: int | None) -> str:
    return NOTHING if nbytes is None else f"{nbytes / 1e6:.0f}"


def _notes(results: Results) -> str:
    """What is missing, and why: each reason once, with the tests that it concerns."""
    notes: dict[str, list[str]] = {}
    for name, reason in results.missing.items():
        what = reason if name == "limits" else f"left out: {reason}"
        notes.setdefault(what, []).append(f"no {name}" if name == "limits" else name)
    for case in results.cases:
        for name, reason in case.errors.items():
            where = f"{name}, {case.model}, {case.threads} threads"
            notes.setdefault(reason, [])
            if where not in notes[reason]:
                notes[reason].append(where)
    for model in results.models:
        cached = model.page_cache or {}
        if "skipped" in cached:
            notes.setdefault(f"not read anew: {cached['skipped']}", []).append(model.label)
    return "".join(f"- {'; '.join(who)}: {what}\n" for what, who in notes.items())


if __name__ == "__main__":
    sys.exit(main())
