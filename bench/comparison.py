"""A whole comparison: all models, with each number of threads, in all tests."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.analysis import rates, ratio, spread
from bench.engines.client import Engine, EngineError, EngineSpec
from bench.interleave import Group, Settings
from bench.page_cache import refresh
from bench.progress import Progress
from bench.results import Case, Model, Results, Test
from bench.words import counted

__all__ = ["Comparison", "Plan", "introduce"]


def introduce(results: Results, specs: list[EngineSpec], timeout: float) -> list[EngineSpec]:
    """Ask every engine what it is. Those that cannot tell are noted as missing and left out."""
    present = []
    for spec in specs:
        try:
            with Engine(spec, timeout) as engine:
                results.engines[spec.name] = engine.ask("about")
            present.append(spec)
        except EngineError as error:
            results.missing[spec.name] = error.reason
    return present


@dataclass(frozen=True)
class Plan:
    """What to compare.

    Attributes:
        specs: the engines, the baseline first.
        probe: the engine that probes limits.
        models: the files, without what the probe tells of them.
        files: the files of each model, by its label.
        tests: what to run.
        n_threads: with how many threads each.
        settings: how.
        folder: where results are saved.
    """

    specs: list[EngineSpec]
    probe: EngineSpec
    models: list[Model]
    files: dict[str, list[Path]]
    tests: list[Test]
    n_threads: list[int]
    settings: Settings
    folder: Path


class Comparison:
    """Carries a plan out, into `results`, which is saved after each test.

    Args:
        plan: what to do.
        present: those of its engines that are here.
        results: what is known so far, the plan's models among it.
    """

    def __init__(self, plan: Plan, present: list[EngineSpec], results: Results) -> None:
        self._plan, self._present, self._results = plan, present, results
        self._progress = Progress(
            sum(
                self._cost(m, n, t) for m in plan.models for n in plan.n_threads for t in plan.tests
            )
        )

    def run(self) -> None:
        """Measure everything. An interruption leaves in the results what was measured."""
        begin = time.monotonic()
        try:
            for i, model in enumerate(self._results.models):
                if self._plan.settings.fresh:
                    self._results.models[i] = replace(model, page_cache=self._refresh(model))
                for n in self._plan.n_threads:
                    self._run_group(i, n)
            self._results.complete = True
        finally:
            self._results.seconds = time.monotonic() - begin
            self._results.save(self._plan.folder)
            self._progress.clear()

    def _run_group(self, index: int, n_threads: int) -> None:
        """All tests of one model with one number of threads."""
        model = self._results.models[index]
        with Group(
            self._present, self._plan.probe, model, n_threads, self._plan.settings, self._progress
        ) as group:
            try:
                self._results.models[index] = group.start_probe()
            except EngineError as error:
                self._results.missing.setdefault("limits", error.reason)
                self._progress.say(f"{model.label}: no limits: {error}")
            for n_seq in sorted({test.n_seq for test in self._plan.tests}):
                tests = [test for test in self._plan.tests if test.n_seq == n_seq]
                group.open(max(test.n_ctx for test in tests), n_seq)
                for test in tests:
                    case = Case(model.label, n_threads, test)
                    self._results.cases.append(case)
                    group.measure(case)
                    self._results.save(self._plan.folder)
                    self._progress.advance(self._cost(model, n_threads, test))
                    self._progress.say(self._line(case))
                self._results.memory += group.memory(n_seq)

    def _cost(self, model: Model, n_threads: int, test: Test) -> float:
        """About how long a test takes, in no unit: a prompt's tokens are cheaper than others."""
        rounds = self._plan.settings.rounds + 1
        prompts = test.n_prompt * rounds + test.n_depth * test.n_seq
        return (prompts / 5 + test.n_gen * rounds) * model.nbytes / n_threads

    def _line(self, case: Case) -> str:
        """What a test found, in a line."""
        found = []
        for name in self._results.engines:
            rate = spread(rates(case, name))
            shown = f"{rate.median:.1f} tok/s" if rate else "no rate"
            found.append(f"{name} {shown}" if name not in case.errors else f"{name} failed")
        first, *others = self._results.engines
        quotients = [q.median for other in others if (q := ratio(case, first, other))]
        if quotients:
            found.append("ratios " + ", ".join(f"{q:.2f}" for q in quotients))
        return (
            f"{case.model}, {counted(case.threads, 'thread')}, {case.test.name}: {'; '.join(found)}"
        )

    def _refresh(self, model: Model) -> dict[str, Any]:
        """Renew the page cache's copy of all files of a model; totals over them."""
        totals: dict[str, Any] = {"nbytes": 0, "huge_bytes": 0, "seconds": 0.0}
        for path in self._plan.files[model.label]:

            def show(done: int, total: int, name: str = path.name) -> None:
                self._progress.show(f"reading {name}: {done / total:.0%}")

            found = refresh(path, show)
            if "skipped" in found:
                return found
            for name, value in found.items():
                known = value is not None and totals[name] is not None
                totals[name] = totals[name] + value if known else None
        return totals
