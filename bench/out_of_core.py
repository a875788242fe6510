"""Models larger than memory: each engine in a cgroup with a limit, on a file not in the page cache.

    python -m bench.out_of_core -m llama-7b-q4_0.gguf --limits 2G,3G
    python -m bench.out_of_core -m llama-30b-q4_0.gguf --limits 6G -n 4 --png limits.png

A page cache that drops the least recently used page gets nothing from weights that are read round
and round: S / B seconds a token, at S bytes a token and a disk that reads B bytes a second. If P
bytes are kept it is (S - P) / B. Both lines are drawn, with B measured in the same run.
bench/README.md tells what the columns mean.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import machine
from bench.cgroup import CgroupError, MemoryCgroup
from bench.engines.client import Engine, EngineError, EngineSpec
from bench.options import adapters
from bench.progress import Progress
from llamacpp.errors import LlamaError
from llamacpp.format import ModelFile
from llamacpp.format.pages import advise_huge_pages
from llamacpp.measure.report import NOTHING, markdown_table
from llamacpp.memory.limit import parse_size

__all__ = ["Result", "bytes_per_token", "disk_rate", "drop", "main"]

ENGINES = ("ours", "peer-norepack")
PIECE = 4 << 20  # bytes of a read
READERS = 4
PROBED = 1 << 30  # bytes, at most
TRIES = 3  # of which the best counts: disks of virtual machines have their moods


@dataclass(frozen=True)
class Result:
    """One engine under one limit; rates are None if it did not live to give one.

    Attributes:
        engine: its name.
        limit: bytes that its processes may hold, page cache included.
        weight_bytes: what a token must read: S.
        disk_bytes_per_second: B, measured right before.
        tokens_per_second: decoding, after a token that warms up.
        anonymous: bytes that the process holds for itself at the end.
        error: why there is no rate.
    """

    engine: str
    limit: int
    weight_bytes: int
    disk_bytes_per_second: float
    tokens_per_second: float | None = None
    anonymous: int | None = None
    error: str | None = None

    @property
    def missing(self) -> int:
        """S - P: what a token must read from the disk, however its memory is used."""
        return max(0, self.weight_bytes - (self.limit - (self.anonymous or 0)))

    @property
    def share(self) -> float | None:
        """Of the rate at which the disk reads what is missing."""
        if self.tokens_per_second is None or not self.missing:
            return None
        return self.tokens_per_second * self.missing / self.disk_bytes_per_second


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, 2 if it cannot be done, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.out_of_core",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--model", type=Path, required=True, metavar="FILE", help="GGUF file")
    parser.add_argument(
        "--limits", required=True, metavar="SIZE,...", help="memory limits, such as 2G,3G"
    )
    parser.add_argument(
        "-n", "--gen", type=int, default=4, metavar="N",
        help="tokens that are timed (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-r", "--rounds", type=int, default=3, metavar="N",
        help="rounds in which the engines take turns; the median counts (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("-t", "--threads", type=int, default=2, metavar="N", help="threads")
    parser.add_argument(
        "--engines", default=",".join(ENGINES), metavar="NAMES",
        help="of ours, peer and peer-norepack (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--peer-python", default=os.environ.get("LLAMACPP_PEER_PYTHON"), metavar="PATH",
        help="the interpreter that has llama-cpp-python",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw speed over the limit")
    args = parser.parse_args(argv)
    progress = Progress(0)
    try:
        if args.png and find_spec("matplotlib") is None:
            raise LlamaError("--png needs matplotlib: pip install 'llamacpp[bench]'")
        known = adapters(args.peer_python or sys.executable)
        specs = [known[name] for name in args.engines.split(",")]
        limits = [parse_size(text) for text in args.limits.split(",")]
        results = [
            result for limit in sorted(limits) for result in _rounds(args, specs, limit, progress)
        ]
    except KeyError as error:
        print(f"{parser.prog}: no engine {error}; engines: {', '.join(known)}", file=sys.stderr)
        return 2
    except (LlamaError, CgroupError, OSError) as error:
        progress.clear()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        return 130
    progress.clear()
    if args.png:
        from bench.limit_plot import draw

        draw(results, args.png)
    print(_json(results) if args.json else _table(results), end="")
    return 0


def _rounds(
    args: argparse.Namespace, specs: Sequence[EngineSpec], limit: int, progress: Progress
) -> list[Result]:
    """For each engine the run of median speed; one that died is not asked again."""
    runs: dict[str, list[Result]] = {spec.name: [] for spec in specs}
    for _ in range(args.rounds):
        for spec in specs:
            if not any(run.error for run in runs[spec.name]):
                runs[spec.name].append(_measure(args, spec, limit, progress))
    return [
        sorted(of_one, key=lambda run: run.tokens_per_second or 0.0)[(len(of_one) - 1) // 2]
        for of_one in runs.values()
    ]


def _measure(args: argparse.Namespace, spec: EngineSpec, limit: int, progress: Progress) -> Result:
    progress.show(f"{limit / 2**30:g} GiB: how fast the disk reads")
    drop(args.model)
    rate = disk_rate(args.model)
    weights = bytes_per_token(args.model)
    progress.show(f"{limit / 2**30:g} GiB: {spec.name}")
    try:
        with MemoryCgroup(limit) as group, Engine(spec, timeout=3600) as engine:
            group.add(engine.pid)
            engine.ask("open", path=str(args.model.absolute()), n_threads=args.threads, n_ctx=256)
            engine.ask("run", n_gen=1)
            seconds = engine.ask("run", n_gen=args.gen)["seconds"]
            held = engine.ask("memory")["anonymous"]
    except EngineError as error:
        return Result(spec.name, limit, weights, rate, error=f"{error.kind}: {error.reason}")
    return Result(spec.name, limit, weights, rate, args.gen / seconds, held)


def drop(path: Path) -> None:
    """Let the page cache forget a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is not on disk cannot be dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_rate(path: Path) -> float:
    """Bytes per second of reading a file from its start, past the page cache, several at a time."""
    with ModelFile(path) as model:
        file = model.mapping(0).open_direct()
        n = min(PROBED, model.mapping(0).nbytes) // PIECE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapping = mmap.mmap(-1, READERS * PIECE, flags=private)
    advise_huge_pages(mapping)
    mapping[:] = bytes(len(mapping))  # no page is taken while the clock runs
    rooms = [memoryview(mapping)[i * PIECE :][:PIECE] for i in range(READERS)]

    def read(reader: int) -> None:
        for piece in range(reader, n, READERS):
            file.read(piece * PIECE, rooms[reader], PIECE)

    def seconds() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, range(READERS)))
        return time.perf_counter() - began

    return n * PIECE / min(seconds() for _ in range(TRIES))


def bytes_per_token(path: Path) -> int:
    """All matrices but the embedding, of which a token reads a row."""
    with ModelFile(path) as file:
        tied = "output.weight" not in file.tensors
        return sum(
            info.nbytes
            for name, info in file.tensors.items()
            if name != "token_embd.weight" or tied
        )


def _table(results: list[Result]) -> str:
    header = [
        "engine",
        "limit, GiB",
        "tok/s",
        "missing, GB",
        "disk, GB/s",
        "of disk",
        "private, MB",
    ]
    cells = [
        [
            r.engine,
            f"{r.limit / 2**30:g}",
            r.error or f"{r.tokens_per_second:.2f}",
            f"{r.missing / 1e9:.2f}",
            f"{r.disk_bytes_per_second / 1e9:.2f}",
            NOTHING if r.share is None else f"{r.share:.0%}",
            NOTHING if r.anonymous is None else f"{r.anonymous / 1e6:.0f}",
        ]
        for r in results
    ]
    return f"{machine.summary(machine.describe())}\n\n{markdown_table(header, cells, 1)}"


def _json(results: list[Result]) -> str:
    return machine.results_json(
        [{**asdict(r), "missing": r.missing, "share": r.share} for r in results]
    )


if __name__ == "__main__":
    sys.exit(main())
