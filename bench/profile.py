"""Where the time of a token goes, op by op.

    python -m bench.profile [-m FILE] [-t N] [-d DEPTH]     a token that is decoded
    python -m bench.profile [-m FILE] [-t N] -p N           a prompt of N tokens

bench/README.md tells what the numbers mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import machine, standard
from llamacpp import Model
from llamacpp.buffers import MAX_THREADS
from llamacpp.cli.common import number
from llamacpp.errors import LlamaError
from llamacpp.measure.profile import Profile, profile
from llamacpp.measure.report import markdown_table
from llamacpp.measure.speed import Test

__all__ = ["main"]

N_GEN = 32  # tokens decoded


def main(argv: Sequence[str] | None = None) -> int:
    """Print a profile; return 0, 2 if there is none, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", type=Path, metavar="FILE",
        help="GGUF file (default: the Q4_0 file of `make bench`, which is made if need be)",
    )  # fmt: skip
    parser.add_argument(
        "-t",
        "--threads",
        type=number(1, MAX_THREADS),
        metavar="N",
        help="default: the cores allowed",
    )
    parser.add_argument(
        "-d", "--depth", type=number(), default=0, metavar="N",
        help="tokens in the cache before (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "-p", "--prompt", type=number(1), metavar="N",
        help="a prompt of so many tokens (default: decoding)",
    )  # fmt: skip
    parser.add_argument(
        "-s", "--sequences", type=number(1), default=1, metavar="N",
        help="sequences that decode together (default: 1)",
    )  # fmt: skip
    parser.add_argument("--cache-type", choices=("f16", "f32", "q8_0"), default="f16")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    try:
        test = Test(args.prompt or 0, 0 if args.prompt else N_GEN, args.depth, args.sequences)
        path = args.model or standard.files(standard.cache(), types=standard.TYPES[:1])[0]
        with Model.open(path) as model:
            found = profile(model, test, n_threads=args.threads, cache_type=args.cache_type)
    except (LlamaError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if args.json:
        about = {"model": str(path), "machine": machine.describe()}
        print(json.dumps({**about, **asdict(found)}, indent=1))
    else:
        print(f"{path.name}, {machine.summary(machine.describe())}\n\n{_table(found)}", end="")
    return 0


def _table(found: Profile) -> str:
    rows = [
        [
            row.name,
            f"{row.calls:g}",
            f"{row.microseconds:.1f}",
            f"{row.share:.1%}",
            "" if row.gbps is None else f"{row.gbps:.1f}",
            "" if row.gops is None else f"{row.gops:.0f}",
        ]
        for row in found.rows
    ]
    rows.append(["all", "", f"{found.microseconds:.1f}", "100.0%", "", ""])
    header = ["op", "calls", "us per token", "share", "GB/s", "GOP/s"]
    threads = f"{found.n_threads} thread{'s' * (found.n_threads != 1)}"
    return (
        f"{found.test.name}, {threads}: {1e6 / found.microseconds:.1f} tok/s,"
        f" {1e6 / found.undisturbed:.1f} without a clock between ops\n\n"
        f"{markdown_table(header, rows, 1)}"
    )


if __name__ == "__main__":
    sys.exit(main())
