"""How long until a model is open, and until the first token is there: warm and cold.

    python -m bench.load -m model.gguf
    python -m bench.load -m model.gguf --cold --json

open         `Model.open` in a process that has imported the package: header and directory
first token  from the start of the process to its end: `llamacpp generate -n 1`, and the same
             through llama-cpp-python's class `Llama`
cold         the same with the file dropped from the page cache, beside the time that it takes to
             read the bytes that the token needs, one after another
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import machine
from bench.out_of_core import bytes_per_token, drop
from bench.progress import Progress
from llamacpp.measure.report import NOTHING, markdown_table

__all__ = ["Result", "main"]

PROMPT = "Once upon a time"
STEP = 4 << 20  # bytes of a read
OURS_OPEN = """
import sys, time
from llamacpp.engine import Model
begin = time.perf_counter()
with Model.open(sys.argv[1]):
    print(time.perf_counter() - begin)
"""
PEER_OPEN = """
import sys, time
from llama_cpp import Llama
begin = time.perf_counter()
model = Llama(sys.argv[1], n_ctx=512, verbose=False)
print(time.perf_counter() - begin)
"""
PEER_TOKEN = """
import sys
from llama_cpp import Llama
print(Llama(sys.argv[1], n_ctx=512, verbose=False)(sys.argv[2], max_tokens=1, temperature=0))
"""


@dataclass(frozen=True)
class Result:
    """The least of some runs, in seconds.

    Attributes:
        what: as in the list above.
        ours: of this package.
        peer: of llama-cpp-python; None if there is none.
        disk: of reading what is needed; None where the file is in the page cache.
    """

    what: str
    ours: float
    peer: float | None
    disk: float | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, 2 if it cannot be done, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="GGUF file")
    parser.add_argument(
        "-r", "--runs", type=int, default=5, metavar="N", help="runs (default: %(default)s)"
    )
    parser.add_argument("--cold", action="store_true", help="also without the page cache")
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH",
        help="an interpreter that has llamacpp installed, as users have it (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--peer-python", default=os.environ.get("LLAMACPP_PEER_PYTHON"), metavar="PATH",
        help="an interpreter that has llama-cpp-python (default: none is compared)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    progress = Progress(0)
    try:
        results = _measure(args, progress)
    except (OSError, subprocess.CalledProcessError) as error:
        progress.clear()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        return 130
    progress.clear()
    print(_json(results) if args.json else _table(results), end="")
    return 0


def _measure(args: argparse.Namespace, progress: Progress) -> list[Result]:
    path, peer = str(args.model.resolve()), args.peer_python
    generate = ["-m", "llamacpp", "generate", "-m", path, "-p", PROMPT, "-n", "1", "-q"]

    def both(
        time_it: Callable[[list[str]], float], ours: list[str], others: list[str]
    ) -> tuple[float, float | None]:
        times = [(time_it([args.python, *ours]), peer and time_it([peer, *others]))
                 for _ in range(args.runs)]  # fmt: skip
        return min(t for t, _ in times), min(t for _, t in times) if peer else None

    progress.show("opening")
    _whole([args.python, *generate])  # all is compiled, and in the page cache, from here on
    results = [Result("open", *both(_told, ["-c", OURS_OPEN, path], ["-c", PEER_OPEN, path]))]
    progress.show("first token")
    tokens = ["-c", PEER_TOKEN, path, PROMPT]
    results.append(Result("first token", *both(_whole, generate, tokens)))
    if args.cold:
        progress.show("first token, cold")

        def cold(command: list[str]) -> float:
            drop(args.model)
            return _whole(command)

        ours, others = both(cold, generate, tokens)
        disk = min(_seconds_to_read(args.model) for _ in range(args.runs))
        results.append(Result("first token, cold", ours, others, disk))
    return results


def _seconds_to_read(path: Path) -> float:
    """How long reading what a token needs takes: through the page cache, from one end on."""
    left = bytes_per_token(path)
    drop(path)
    room = bytearray(STEP)
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while left > 0:
            left -= file.readinto(room) or left
    return time.perf_counter() - began


def _told(command: list[str]) -> float:
    """Seconds that a program says it took."""
    return float(_run(command).stdout)


def _whole(command: list[str]) -> float:
    """Seconds that a program takes, interpreter and all."""
    begin = time.perf_counter()
    _run(command)
    return time.perf_counter() - begin


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Where no source tree is in the way, Python keeping what it compiled: as users have it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        command, capture_output=True, check=True, text=True, env=environment, cwd="/"
    )


def _table(results: list[Result]) -> str:
    header = ["what", "ours, s", "peer, s", "peer / ours", "reading, s", "ours / reading"]
    cells = [
        [
            r.what,
            f"{r.ours:.4f}",
            f"{r.peer:.3f}" if r.peer else NOTHING,
            f"{r.peer / r.ours:.1f}" if r.peer else NOTHING,
            f"{r.disk:.3f}" if r.disk else NOTHING,
            f"{r.ours / r.disk:.2f}" if r.disk else NOTHING,
        ]
        for r in results
    ]
    return f"{machine.summary(machine.describe())}\n\n{markdown_table(header, cells, 1)}"


def _json(results: list[Result]) -> str:
    return machine.results_json([asdict(r) for r in results])


if __name__ == "__main__":
    sys.exit(main())
