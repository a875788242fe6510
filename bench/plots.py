"""Plots of a comparison: bars of speed, curves over prompt length, depth and threads, memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from bench.analysis import Spread, limit, rates, spread
from bench.plot_style import MAX_COLUMNS, MAX_INCHES, Axes, bars, colours, figure, lines, number
from bench.results import Case, Results, Test
from bench.words import counted

__all__ = ["draw"]

MIN_POINTS = 3  # of a curve over prompt length or depth
KINDS = {"read": "read limit", "int8": "int8 limit"}
Made = list[tuple[str, Figure]]


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw every plot that the results have data for; return the files, PNG."""
    plots = _Plots(results)
    made: Made = []
    for threads in sorted({case.threads for case in results.cases}):
        made += plots.speed(threads)
        made += plots.prompt_curve(threads)
        made += plots.depth_curve(threads)
    made += plots.thread_curve()
    made += plots.memory()
    paths = []
    for name, drawn in made:
        paths.append(folder / f"{name}.png")
        drawn.savefig(paths[-1], dpi=150)
    return paths


class _Plots:
    """The plots of some results, each as a list of (name, figure) that may be empty."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._colours = colours(list(results.engines))
        self._labels = [model.label for model in results.models]
        self._common = _common_beginning(self._labels)

    # ---- the plots ------------------------------------------------------------------------------

    def speed(self, threads: int) -> Made:
        """Bars: a panel per test, a group per model, a bar per engine."""
        tests = self._plain_tests(threads)
        if not tests:
            return []
        n_bars = len(self._labels) * len(self._colours)
        title = f"Speed with {counted(threads, 'thread')}"
        inches = min(max(4.4, 0.42 * n_bars + 1), MAX_INCHES)
        drawn, axes = self._figure(title, len(tests), inches)
        for panel, test in zip(axes, tests, strict=True):
            found = [self._case(label, threads, test) for label in self._labels]
            values = {
                name: [self._bar(case, name) for case in found] for name in self._results.engines
            }
            groups = [self._short(label) for label in self._labels]
            limits = [self._limit(case, long=False) for case in found]
            bars(panel, _words(test), "tok/s", groups, values, self._colours, limits, inches)
        return [(f"speed-{threads}t", drawn)]

    def prompt_curve(self, threads: int) -> Made:
        """Lines over the length of the prompt: a panel per model."""
        return self._curves(
            f"Prompt speed by length, {counted(threads, 'thread')}", f"prompt-length-{threads}t",
            "prompt, tokens", threads,
            lambda test: test.is_prompt and not test.n_depth, lambda test: test.n_prompt, log=True,
        )  # fmt: skip

    def depth_curve(self, threads: int) -> Made:
        """Lines over the tokens that the cache holds: a panel per model."""
        lengths = [t.n_gen for t in self._tests(threads) if not t.is_prompt and t.n_seq == 1]
        if not lengths:
            return []
        n_gen = max(lengths, key=lengths.count)
        return self._curves(
            f"Decoding by depth, {counted(threads, 'thread')}", f"depth-{threads}t",
            "tokens in the cache", threads,
            lambda test: test.n_gen == n_gen and test.n_seq == 1, lambda test: test.n_depth,
        )  # fmt: skip

    def thread_curve(self) -> Made:
        """Lines over the number of threads: a panel per model and test."""
        threads = sorted({case.threads for case in self._results.cases})
        tests = self._plain_tests(None)
        if len(threads) < 2 or not tests:
            return []
        panels = [(label, test) for label in self._labels for test in tests]
        columns = len(tests) if 1 < len(tests) <= 4 else MAX_COLUMNS
        drawn, axes = self._figure("Speed by threads", len(panels), 3.7, columns)
        for panel, (label, test) in zip(axes, panels, strict=True):
            cases = [case for n in threads if (case := self._case(label, n, test))]
            title = test.name if len(self._labels) == 1 else f"{self._short(label)}: {test.name}"
            self._lines(panel, title, cases, [case.threads for case in cases], "threads")
        return [("threads", drawn)]

    def memory(self) -> Made:
        """Bars of what each engine holds for itself, beside the size of the file."""
        first: dict[tuple[str, str], float] = {}
        for held in self._results.memory:  # of the smallest group; the others differ little
            if held.anonymous is not None:
                first.setdefault((held.model, held.engine), held.anonymous / 1e6)
        if not first:
            return []
        inches = min(max(7.4, 0.42 * len(first) + 1), MAX_INCHES)
        drawn, (panel,) = self._figure("Memory that a process holds for itself", 1, inches)
        values: dict[str, list[Spread | str | None]] = {}
        for name in self._results.engines:
            found = [first.get((label, name)) for label in self._labels]
            values[name] = [None if mb is None else Spread(mb, mb, mb) for mb in found]
        groups = [self._short(label) for label in self._labels]
        title = "anonymous memory after the tests; what is mapped from the file is not in it"
        sizes = [model.nbytes / 1e6 for model in self._results.models]
        limits = [(size, f"the file: {number(size)} MB") for size in sizes]
        bars(panel, title, "MB", groups, values, self._colours, limits, inches)
        return [("memory", drawn)]

    # ---- parts ----------------------------------------------------------------------------------

    def _figure(
        self, title: str, panels: int, width: float, columns: int = MAX_COLUMNS
    ) -> tuple[Figure, list[Axes]]:
        machine = self._results.machine
        models = self._common.rstrip("-_") or ", ".join(self._labels)
        where = f"{models} on {machine.get('cpu', 'an unknown CPU')}"
        where += f" ({counted(machine.get('cores_allowed', 1), 'core')})"
        partial = "" if self._results.complete else " (partial)"
        return figure(title + partial, where, self._colours, panels, (width, 3.5), columns)

    def _short(self, label: str) -> str:
        return label[len(self._common) :]

    def _tests(self, threads: int | None) -> list[Test]:
        cases = [c for c in self._results.cases if threads in (None, c.threads)]
        return list(dict.fromkeys(case.test for case in cases))

    def _plain_tests(self, threads: int | None) -> list[Test]:
        """The tests that are no more than a point of a curve left out."""
        tests = self._tests(threads)
        lengths = {t.n_prompt for t in tests if t.is_prompt and not t.n_depth}
        depths = {t.n_depth for t in tests if not t.is_prompt and t.n_seq == 1}
        kept = min(lengths, key=lambda n: abs(n - 512), default=0)
        if len(lengths) >= MIN_POINTS:
            tests = [t for t in tests if not t.is_prompt or t.n_depth or t.n_prompt == kept]
        if len(depths) >= MIN_POINTS:
            tests = [t for t in tests if t.is_prompt or t.n_seq > 1 or not t.n_depth]
        return tests

    def _case(self, label: str, threads: int, test: Test) -> Case | None:
        for case in self._results.cases:
            if (case.model, case.threads, case.test) == (label, threads, test):
                return case
        return None

    def _bar(self, case: Case | None, engine: str) -> Spread | str | None:
        if case is None:
            return None
        if engine in case.errors:
            return case.errors[engine].partition(":")[0]
        return spread(rates(case, engine))

    def _limit(self, case: Case | None, long: bool) -> tuple[float, str] | None:
        """Tokens per second at the limit, and what to write there."""
        bound = limit(case, self._results.model(case.model)) if case else None
        if bound is None:
            return None
        if not long:
            return bound.tokens, f"{KINDS[bound.kind]} {number(bound.tokens)}"
        unit = "GB/s" if bound.kind == "read" else "GOP/s"
        per_second = f"{number(bound.per_second / 1e9)} {unit}"
        return bound.tokens, f"{KINDS[bound.kind]} {number(bound.tokens)} ({per_second})"

    def _curves(
        self, title: str, name: str, axis: str, threads: int,
        wanted: Callable[[Test], bool], x: Callable[[Test], int], log: bool = False,
    ) -> Made:  # fmt: skip
        """One line plot: a panel for each model that has enough points."""
        panels = []
        for label in self._labels:
            cases = [
                case
                for case in self._results.cases
                if (case.model, case.threads) == (label, threads) and wanted(case.test)
            ]
            if len(cases) >= MIN_POINTS:
                panels.append((label, sorted(cases, key=lambda case: x(case.test))))
        if not panels:
            return []
        drawn, axes = self._figure(title, len(panels), 4.6)
        for panel, (label, cases) in zip(axes, panels, strict=True):
            if log:
                panel.set_xscale("log", base=2)
            at = [x(case.test) for case in cases]
            self._lines(panel, self._short(label), cases, at, axis)
        return [(name, drawn)]

    def _lines(self, panel: Axes, title: str, cases: list[Case], at: list[int], axis: str) -> None:
        values = {
            name: [None if name in c.errors else spread(rates(c, name)) for c in cases]
            for name in self._results.engines
        }
        limits = [self._limit(case, long=True) for case in cases]
        lines(panel, title, axis, at, values, self._colours, limits)


def _words(test: Test) -> str:
    """A test in words, with its name."""
    what = f"prompt of {test.n_prompt}" if test.is_prompt else f"decoding {test.n_gen}"
    if test.n_seq > 1:
        what += f", {test.n_seq} sequences"
    if test.n_depth:
        what += f", after {test.n_depth}"
    return f"{what} ({test.name})"


def _common_beginning(labels: list[str]) -> str:
    """What all labels begin with, up to a hyphen; "" for a single label."""
    if len(labels) < 2:
        return ""
    first, last = min(labels), max(labels)
    n = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), len(first))  # noqa: B905
    return first[: first.rfind("-", 0, n) + 1]
