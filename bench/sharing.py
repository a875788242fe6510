"""One copy per machine: several processes with one model, and what they hold together.

    python -m bench.sharing -m model.gguf
    python -m bench.sharing -m model.gguf --processes 8 --engines ours,peer --json

Each process opens the file and decodes some tokens; all stay while their Pss is added up: every
page divided by the number of processes that map it, so that the sum counts each page once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import machine
from bench.engines.client import Engine, EngineError, EngineSpec
from bench.options import adapters
from bench.progress import Progress
from llamacpp.measure.report import NOTHING, markdown_table

__all__ = ["Result", "main"]

TOKENS = 4
N_CTX = 256


@dataclass(frozen=True)
class Result:
    """So many processes of one engine; bytes, None if they did not live to tell.

    Attributes:
        engine: its name.
        processes: how many.
        file_bytes: the model's size.
        pss: of all of them together.
        anonymous: the most that one of them holds for itself.
        error: why there are none.
    """

    engine: str
    processes: int
    file_bytes: int
    pss: int | None = None
    anonymous: int | None = None
    error: str | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, 2 if it cannot be done, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.sharing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="GGUF file")
    parser.add_argument(
        "--processes", type=int, default=8, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--engines", default="ours", metavar="NAMES",
        help="of ours, peer and peer-norepack (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--peer-python", default=os.environ.get("LLAMACPP_PEER_PYTHON"), metavar="PATH",
        help="the interpreter that has llama-cpp-python",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    known = adapters(args.peer_python or sys.executable)
    unknown = [name for name in args.engines.split(",") if name not in known]
    if unknown or not args.model.is_file():
        problem = f"no engine {unknown[0]!r}" if unknown else f"{args.model}: there is no such file"
        print(f"{parser.prog}: {problem}", file=sys.stderr)
        return 2
    progress = Progress(0)
    try:
        results = [_measure(args, known[name], progress) for name in args.engines.split(",")]
    except KeyboardInterrupt:
        progress.clear()
        return 130
    progress.clear()
    print(_json(results) if args.json else _table(results), end="")
    return 0


def _measure(args: argparse.Namespace, spec: EngineSpec, progress: Progress) -> Result:
    size = args.model.stat().st_size
    try:
        with ExitStack() as stack:
            engines = []
            for number in range(args.processes):
                progress.show(f"{spec.name}: process {number + 1} of {args.processes}")
                engine = stack.enter_context(Engine(spec, timeout=600))
                engine.ask("open", path=str(args.model.absolute()), n_threads=1, n_ctx=N_CTX)
                engine.ask("run", n_gen=TOKENS)
                engines.append(engine)
            held = [engine.ask("memory") for engine in engines]
    except EngineError as error:
        return Result(spec.name, args.processes, size, error=f"{error.kind}: {error.reason}")
    anonymous = max(memory["anonymous"] for memory in held)
    return Result(spec.name, args.processes, size, sum(memory["pss"] for memory in held), anonymous)


def _table(results: list[Result]) -> str:
    header = ["engine", "processes", "file, MB", "together, MB", "over the file", "each, MB"]
    cells = [
        [
            r.engine,
            str(r.processes),
            f"{r.file_bytes / 1e6:.0f}",
            r.error or NOTHING if r.pss is None else f"{r.pss / 1e6:.0f}",
            NOTHING if r.pss is None else f"{r.pss / r.file_bytes:.2f}",
            NOTHING if r.anonymous is None else f"{r.anonymous / 1e6:.0f}",
        ]
        for r in results
    ]
    return f"{machine.summary(machine.describe())}\n\n{markdown_table(header, cells, 1)}"


def _json(results: list[Result]) -> str:
    return machine.results_json([asdict(r) for r in results])


if __name__ == "__main__":
    sys.exit(main())
