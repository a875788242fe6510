"""How fast every kernel is, at every level that this machine runs, on one thread.

    python -m bench.kernels
    python -m bench.kernels --kernel dot_q4 --kernel gemm --level avx2 -o json

Beside its time, a kernel has the rates at which it reads and multiplies, its speed over that of its
scalar twin, and its share of the limit that it comes nearest to: reading from L1, L2 or memory, or
8-bit products. The limits are probed in the same run. bench/README.md tells what the numbers mean.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bench import machine
from bench.progress import Progress
from llamacpp._native import available_levels
from llamacpp.cli.common import number
from llamacpp.engine.threads import default_threads
from llamacpp.measure.report import NOTHING, markdown_table

__all__ = ["CheckasmError", "Row", "main"]

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tests" / "kernels" / "checkasm"
BUILD = ROOT / "build" / "checkasm"
PROBES = "probe_"  # what the names of the kernels that set the limits begin with


class CheckasmError(Exception):
    """checkasm, which times the kernels, cannot be built or run, and the message says why."""


@dataclass(frozen=True)
class Timing:
    """What checkasm prints of one case of a kernel; bytes and operations are those of a call."""

    slot: str
    level: str
    case: str
    ns: float
    bytes: int
    operations: int
    limits: str

    @property
    def rate(self) -> float:
        """Of a probe: what it does in a nanosecond, which is either."""
        return (self.bytes or self.operations) / self.ns

    def share(self, probe: Timing) -> float:
        """Of a limit, which is a probe's rate."""
        return (self.bytes if probe.bytes else self.operations) / self.ns / probe.rate


@dataclass(frozen=True)
class Row:
    """One case of a kernel at a level; rates are None where it does nothing of the kind."""

    slot: str
    level: str
    case: str
    ns: float
    gbps: float | None
    gops: float | None
    times_scalar: float
    limit: str
    limit_share: float


def main(argv: Sequence[str] | None = None) -> int:
    """Time the kernels; return 0, 2 if they cannot be timed, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--kernel", action="append", default=[], metavar="TEXT",
        help="those with TEXT in their names, as in csrc/kernels.inc; may be repeated "
        "(default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--level", action="append", choices=available_levels(),
        help="show these alone; may be repeated (default: all that this machine runs)",
    )  # fmt: skip
    parser.add_argument(
        "--ms", type=number(1, 10_000), default=50, metavar="N",
        help="how long to measure each case, about (default: %(default)s; all take a half minute)",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", choices=FORMATS, default="md", help="format (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    progress = Progress(0)
    try:
        rows = _measure(args.kernel, args.ms, progress)
    except CheckasmError as error:
        progress.clear()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        return 130
    progress.clear()
    levels = args.level or available_levels()
    print(FORMATS[args.output]([row for row in rows if row.level in levels]), end="")
    return 0


def _measure(kernels: list[str], ms: int, progress: Progress) -> list[Row]:
    """Those kernels at all levels. Limits are probed before and after; the better probe counts.

    Raises:
        CheckasmError: it cannot be built or run, or there are no such kernels.
    """
    progress.show("building checkasm")
    program = _build()
    before = _run(program, ms, [PROBES], progress)
    timings = _run(program, ms, [*kernels, PROBES] if kernels else [], progress)
    limits = _limits(before + [timing for timing in timings if timing.slot.startswith(PROBES)])
    asked = [t for t in timings if not kernels or any(text in t.slot for text in kernels)]
    if not asked:
        raise CheckasmError(
            f"no kernel has {' or '.join(map(repr, kernels))} in its name:"
            " the names are in csrc/kernels.inc"
        )
    scalar = {(t.slot, t.case): t.ns for t in asked if t.level == "scalar"}
    return [_row(timing, scalar[timing.slot, timing.case], limits) for timing in asked]


def _build() -> Path:
    """Bring the program up to date; return its path."""
    if shutil.which("make") is None:
        raise CheckasmError("checkasm is built by make, which is not installed")
    command = ["make", "-s", f"-j{default_threads()}", "-C", str(SOURCES), f"BUILD={BUILD}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckasmError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return BUILD / "checkasm"


def _run(program: Path, ms: int, kernels: list[str], progress: Progress) -> list[Timing]:
    """Time the kernels with one of these texts in their names; all if there is none."""
    command = [str(program), "--bench", str(ms)]
    command += [word for text in kernels for word in ("--kernel", text)]
    timings, said = [], []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                said.append(line)
                continue
            timings.append(Timing(**json.loads(line)))
            progress.show(f"{timings[-1].slot}, {timings[-1].level}")
    if process.returncode:
        raise CheckasmError(f"{' '.join(command)} failed:\n{''.join(said).strip()}")
    return timings


def _limits(probes: list[Timing]) -> dict[str, dict[str, Timing]]:
    """By level and name: the best that probes of the level, or of lower ones, came to."""
    best: dict[str, Timing] = {}
    found = {}
    for level in available_levels():
        for probe in probes:
            name = probe.limits
            if probe.level == level and (name not in best or probe.rate > best[name].rate):
                best[name] = probe
        found[level] = dict(best)
    return found


def _row(timing: Timing, scalar_ns: float, limits: dict[str, dict[str, Timing]]) -> Row:
    shares = {name: timing.share(limits[timing.level][name]) for name in timing.limits.split(",")}
    limit = max(shares, key=shares.__getitem__)
    return Row(
        slot=timing.slot,
        level=timing.level,
        case=timing.case,
        ns=timing.ns,
        gbps=timing.bytes / timing.ns if timing.bytes else None,
        gops=timing.operations / timing.ns if timing.operations else None,
        times_scalar=scalar_ns / timing.ns,
        limit=limit,
        limit_share=shares[limit],
    )


def _markdown(rows: list[Row]) -> str:
    header = ["kernel", "level", "case", "limit", "ns", "GB/s", "GOP/s", "x scalar", "of limit"]
    cells = [
        [
            row.slot,
            row.level,
            row.case,
            row.limit,
            f"{row.ns:.1f}",
            NOTHING if row.gbps is None else f"{row.gbps:.1f}",
            NOTHING if row.gops is None else f"{row.gops:.1f}",
            f"{row.times_scalar:.2f}",
            f"{row.limit_share:.1%}",
        ]
        for row in rows
    ]
    return f"{machine.summary(machine.describe())}\n\n{markdown_table(header, cells, 4)}"


def _json(rows: list[Row]) -> str:
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"


def _csv(rows: list[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return out.getvalue()


FORMATS = {"md": _markdown, "json": _json, "csv": _csv}


if __name__ == "__main__":
    sys.exit(main())
