"""What a count of page faults says of a model, and what is so (docs/was-30b-sparse.md).

    python -m bench.faults [-m FILE] [-t N]

For each row a process of its own evaluates two tokens and counts its page faults. How many there
are depends on how the file lies in the page cache, and on what the mapping asks for. Which pages
are read does not: it is traced once. The file is dropped from the page cache again and again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from bench import machine, page_cache, standard
from llamacpp import Model
from llamacpp.buffers import MAX_THREADS
from llamacpp.cli.common import StatusLine, number
from llamacpp.errors import LlamaError
from llamacpp.format import mapping
from llamacpp.measure.report import markdown_table
from llamacpp.memory import Trace
from llamacpp.memory.pages import PAGE
from llamacpp.memory.process import page_faults

__all__ = ["evaluate", "main"]

# How the file comes to lie in the page cache; None: as the row before left it.
ROWS: list[tuple[str, Callable[[Path], object] | None, bool]] = [
    ("in memory in single pages, as in 2023", page_cache.read_small, False),
    ("the same, huge pages asked for", None, True),
    ("not in memory", page_cache.drop, False),
    ("in memory, as read-ahead left it", None, False),
    ("not in memory, huge pages asked for", page_cache.drop, True),
    ("in memory after that", None, True),
]
CHILD = "import sys; from bench import faults; faults.evaluate(*sys.argv[1:])"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 0, 2 if it cannot be had, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", type=Path, metavar="FILE",
        help="GGUF file (default: the Q4_0 file of `make bench`, which is made if need be)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=number(1, MAX_THREADS), metavar="N",
        help="default: the cores allowed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    status = StatusLine()
    try:
        path = args.model or standard.files(standard.cache(), types=standard.TYPES[:1])[0]
        found = _measure(path, args.threads or 0, status)
    except (LlamaError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        status.clear()
    print(json.dumps(found, indent=1) if args.json else _table(found))
    return 0


def _measure(path: Path, n_threads: int, status: StatusLine) -> dict[str, Any]:
    with Model.open(path, n_threads=n_threads or None) as model:
        nbytes = sum(info.nbytes for info in model.file.tensors.values())
        n_threads = model.n_threads
    rows = []
    for name, prepare, advise in ROWS:
        status.show(f"{name}: preparing")
        if prepare is not None:
            prepare(path)
        status.show(f"{name}: two tokens")
        rows.append({"state": name, "advice": advise, **_child(path, n_threads, advise)})
    status.show("tracing a token")
    return {
        "machine": machine.describe(),
        "settings": _settings(path),
        "model": str(path),
        "n_threads": n_threads,
        "tensor_bytes": nbytes,
        "page_bytes": PAGE,
        "rows": rows,
        **_traced(path, n_threads),
    }


def _child(path: Path, n_threads: int, advise: bool) -> dict[str, int]:
    """What a process of its own counts."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-c", CHILD, str(path), str(n_threads), str(int(advise))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LlamaError(f"counting faults failed: {done.stderr.strip()}")
    counted: dict[str, int] = json.loads(done.stdout)
    return counted


def evaluate(path: str, n_threads: str, advise: str) -> None:
    """Evaluate two tokens and print the faults of each, as JSON; nothing else may have run yet."""
    counts = dict[str, int]()
    unadvised = mock.patch.object(mapping, "advise_huge_pages")
    with nullcontext() if int(advise) else unadvised:
        model = Model.open(path, n_threads=int(n_threads))
    with model:
        session = model.session(16)
        for name in ("first", "second"):
            before = page_faults()
            session.eval([1])
            faults = page_faults() - before
            counts |= {f"{name}_minor": faults.minor, f"{name}_major": faults.major}
        counts["huge_bytes"] = page_cache.huge_bytes(Path(path)) or 0
    print(json.dumps(counts))


def _traced(path: Path, n_threads: int) -> dict[str, int]:
    """What a token reads, exactly."""
    with Model.open(path, n_threads=n_threads) as model:
        session = model.session(16)
        session.eval([1])
        with Trace(model.file) as trace:
            session.eval([1])
            pages = trace.touched()
        tensors = model.file.tensors.values()
        return {
            "touched_pages": pages.count,
            "touched_bytes": sum(pages.nbytes_of(info) for info in tensors),
        }


def _settings(path: Path) -> dict[str, int]:
    """Pages mapped at one fault and read ahead, in bytes; what is not told is left out."""
    device = path.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    found = {}
    for name, places, unit in (
        ("fault_around_bytes", ["/sys/kernel/debug/fault_around_bytes"], 1),
        ("read_ahead_bytes", [block / "bdi/read_ahead_kb", block / "../bdi/read_ahead_kb"], 1024),
    ):
        for place in places:
            try:
                found[name] = int(Path(place).read_text(encoding="ascii")) * unit
            except (OSError, ValueError):
                continue
    return found


def _table(found: dict[str, Any]) -> str:
    nbytes = found["tensor_bytes"]

    def share(part: int) -> str:
        return f"{part / nbytes:.1%}"

    rows = []
    for row in found["rows"]:
        faults = row["first_minor"] + row["first_major"]
        rows.append([
            row["state"], f"{row['first_minor']:,}", f"{row['first_major']:,}",
            f"{faults * PAGE / 1e6:,.1f}", share(faults * PAGE),
            f"{found['touched_pages'] / faults:,.1f}", f"{row['huge_bytes'] / 1e6:,.0f}",
            f"{row['second_minor'] + row['second_major']:,}",
        ])  # fmt: skip
    header = [
        "the file", "minor", "major", f"x {PAGE:,} B, MB", "of tensors", "pages read a fault",
        "huge MB", "faults of token 2",
    ]  # fmt: skip
    settings = found["settings"]
    around = settings.get("fault_around_bytes")
    ahead = settings.get("read_ahead_bytes")
    return "\n".join([
        machine.summary(found["machine"]),
        f"{found['model']}: {nbytes / 1e6:,.1f} MB of tensors, {found['n_threads']} threads",
        f"mapped at a fault: {f'{around:,} bytes' if around else 'not told (65,536 by default)'}; "
        f"read ahead: {f'{ahead:,} bytes' if ahead else 'not told'}",
        "",
        markdown_table(header, rows, 1),
        f"read by every token, exactly: {found['touched_pages']:,} pages, "
        f"{found['touched_bytes'] / 1e6:,.1f} MB, {share(found['touched_bytes'])} of tensors",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
