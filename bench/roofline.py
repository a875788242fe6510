"""What the machine allows: reading the mapped weights of a model, and multiplying 8-bit integers.

    python -m bench.roofline [-m FILE] [-t 1,2]
    python -m bench.roofline --check

bench/README.md tells what the numbers mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import llamacpp
from bench import machine, standard
from bench.disassembly import EXPECTED, NoDisassemblyError, check
from llamacpp import Model
from llamacpp._native import active_level, ffi, lib
from llamacpp.buffers import MAX_THREADS
from llamacpp.cli.common import numbers
from llamacpp.engine.threads import default_threads
from llamacpp.errors import LlamaError
from llamacpp.measure.limits import int8_peak, read_bandwidth
from llamacpp.measure.report import markdown_table
from llamacpp.measure.speed import touch, weight_bytes_per_token

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Probe, or check the probe; return 0, 1 if the check fails, 2 if it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.roofline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", type=Path, metavar="FILE",
        help="GGUF file whose weights are read (default: the Q4_0 file of `make bench`, which is "
        "made if need be)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=numbers(1, MAX_THREADS), metavar="N,...",
        help="numbers of threads (default: 1, and the cores allowed)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--check", action="store_true",
        help="only look whether the compiler left the probe of 8-bit products as it is meant",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.check:
        return _check()
    try:
        path = args.model or standard.files(standard.cache(), types=standard.TYPES[:1])[0]
        found = _probe(path, args.threads or sorted({1, default_threads()}))
    except (LlamaError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(found, indent=1) + "\n" if args.json else _table(found), end="")
    return 0


def _probe(path: Path, threads: list[int]) -> dict[str, object]:
    """The limits, in bytes and operations per second, and what they were probed on."""
    with Model.open(path) as model:
        touch(model)
        return {
            "machine": machine.describe(),
            "model": str(path),
            "weight_bytes": weight_bytes_per_token(model),
            "limits": [
                {
                    "n_threads": n,
                    "level": active_level(),
                    "read_bandwidth": read_bandwidth(model, n),
                    "int8_peak": int8_peak(n),
                }
                for n in threads
            ],
        }


def _table(found: dict) -> str:  # type: ignore[type-arg]
    rows = [
        [
            str(limits["n_threads"]),
            f"{limits['read_bandwidth'] / 1e9:.1f}",
            f"{limits['int8_peak'] / 1e9:.0f}",
        ]
        for limits in found["limits"]
    ]
    about = f"{found['model']}: {found['weight_bytes'] / 1e9:.3f} GB of weights a token"
    table = markdown_table(["threads", "read GB/s", "int8 GOP/s"], rows, 0)
    return f"{machine.summary(found['machine'])}\n{about}\n\n{table}"


def _check() -> int:
    """Look at the loop of every level that the extension has."""
    library = next(Path(llamacpp.__file__).parent.glob("_lk*.so"))
    slot = next(i for i in range(lib.lk_n_kernels())
                if ffi.string(lib.lk_kernel_name(i)) == b"probe_int8")  # fmt: skip
    code = 0
    for number in range(lib.LK_N_LEVELS):
        level = ffi.string(lib.lk_level_name(number)).decode()
        if not lib.lk_kernel_has(slot, number):
            continue
        if level not in EXPECTED:
            print(f"{level:10} plain C: what the compiler makes of it is what is probed")
            continue
        try:
            loop = check(library, level)
        except NoDisassemblyError as error:
            print(f"{level:10} not checked: {error}")
            code = max(code, 2)
            continue
        problems = loop.problems(level)
        counts = ", ".join(f"{loop.counts[name]} {name}" for name in EXPECTED[level])
        print(f"{level:10} {'; '.join(problems) or f'ok: {counts}, all in registers'}")
        code = 1 if problems else code
    return code


if __name__ == "__main__":
    sys.exit(main())
