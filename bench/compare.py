"""Compare engines on the same model files: each in turn, in one run, beside the machine's limits.

    python -m bench.compare -m model.gguf -t 1,2 --plots

What every column means, and how to add an engine: bench/README.md.
"""

from __future__ import annotations

import datetime
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict

from bench import machine, report
from bench.comparison import Comparison, Plan, introduce
from bench.options import UsageError, build_parser, build_plan
from bench.results import Results
from llamacpp.errors import LlamaError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return 0, or 2 for bad usage, or 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _compare(build_plan(args), argv, plots=args.plots)
    except (UsageError, LlamaError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130


def _compare(plan: Plan, argv: list[str], *, plots: bool) -> int:
    results = Results(
        name=plan.folder.name,
        started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        command=["python", "-m", "bench.compare", *argv],
        settings=asdict(plan.settings),
        machine=machine.describe(),
        models=list(plan.models),
    )
    present = introduce(results, plan.specs, plan.settings.timeout)
    for reason in dict.fromkeys(results.missing.values()):
        names = [name for name, why in results.missing.items() if why == reason]
        print(f"left out: {', '.join(names)}: {reason}", file=sys.stderr)
    if not present:
        raise UsageError("none of these engines is here")
    code = 0
    try:
        Comparison(plan, present, results).run()
    except KeyboardInterrupt:
        if not any(case.rounds for case in results.cases):
            raise
        code = 130
        print("interrupted: what follows is part of the results", file=sys.stderr)
    written = report.write(results, plan.folder, plots=plots)
    print(report.table(results), end="")
    others = ", ".join(path.name for path in written)
    print(f"written to {plan.folder}: results.json, {others}", file=sys.stderr)
    return code


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
