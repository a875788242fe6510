"""Engines, a machine and a plan that cost nothing to measure."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.comparison import Comparison, Plan, introduce
from bench.engines.client import EngineSpec
from bench.interleave import Settings
from bench.results import Model, Results, Test

SCRIPT = Path(__file__).resolve().parent / "fake_engine.py"
QUICK = Settings(rounds=3, pause=0.0, fresh=False, timeout=20.0, patience=0.0)
MACHINE = {
    "cpu": "Imaginary 9000", "cores_allowed": 2, "level": "avx2", "caches": {"L1d": "32K"},
    "memory_bytes": 8_000_000_000, "kernel": "Linux 6.0",
}  # fmt: skip


def fake(
    name: str,
    log: Path,
    seconds: Sequence[float] = (1.0,),
    trouble: str = "",
    paces: Sequence[float] = (8.0,),
) -> EngineSpec:
    """An engine of `fake_engine.py`."""
    environment = {
        "FAKE_NAME": name,
        "FAKE_LOG": str(log),
        "FAKE_SECONDS": ",".join(map(str, seconds)),
        "FAKE_TROUBLE": trouble,
        "FAKE_PACES": ",".join(map(str, paces)),
    }
    return EngineSpec(name, (sys.executable, str(SCRIPT)), environment)


def compare(
    folder: Path,
    specs: list[EngineSpec],
    tests: list[Test],
    n_threads: Sequence[int] = (2,),
    settings: Settings = QUICK,
    probe: EngineSpec | None = None,
) -> Results:
    """Carry out a plan with one model of an empty file, saved into `folder`."""
    path = folder / "model.gguf"
    path.touch()
    plan = Plan(
        specs=specs,
        probe=probe or fake("probe", folder / "log"),
        models=[Model("model", str(path), 1000)],
        files={"model": [path]},
        tests=tests,
        n_threads=list(n_threads),
        settings=settings,
        folder=folder,
    )
    results = Results(
        name="fakes",
        started="2026-01-01T00:00:00+00:00",
        command=["compare"],
        settings={"rounds": settings.rounds},
        machine=MACHINE,
        models=list(plan.models),
    )
    present = introduce(results, specs, settings.timeout)
    Comparison(plan, present, results).run()
    return results


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
