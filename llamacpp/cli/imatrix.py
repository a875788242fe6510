"""``llamacpp imatrix``: how much each column of a model's matrices matters."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from llamacpp.cli.common import StatusLine, number, open_model, printable, read_bytes
from llamacpp.errors import InvalidArgumentError

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Measure an importance matrix: run a model over a text, and keep for every column of every matrix
the mean square of what it is multiplied with. `llamacpp quantize --imatrix` uses it, and llama.cpp
reads it too."""
EPILOG = """\
examples:
  llamacpp imatrix -m model-f16.gguf -f text.txt -o model.imatrix.gguf

Some hundred thousand tokens of text like what the model will see are plenty: general text, several
languages, code, whatever applies. The text is cut into chunks of the context size; what is left at
the end is not used.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "imatrix",
        help="measure how much each column of the weights matters",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", metavar="FILE",
        help="GGUF file, best in F16, BF16 or F32 (default: the bundled story model)",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--file", metavar="FILE", required=True, help="the text, UTF-8; - for standard input"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the importance matrix to write"
    )
    parser.add_argument(
        "-c", "--ctx", type=number(2), metavar="N",
        help="tokens of a chunk (default: 512, or the model's context if that is less)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=number(1, 256), metavar="N",
        help="threads (default: the cores allowed)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.set_defaults(run=run, mlock=False, no_mmap=False, memory_limit="auto")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if os.path.lexists(args.output) and not args.force:
        raise InvalidArgumentError(f"{args.output} exists; --force replaces it")
    from llamacpp.quantize import write_importance
    from llamacpp.quantize.collect import collect_importance

    text = read_bytes(args.file).decode("utf-8", "replace")
    status = StatusLine()
    with open_model(args, args.ctx) as model:
        try:
            importance = collect_importance(
                model, text, n_ctx=args.ctx, dataset=Path(args.file).name,
                progress=lambda done, total: status.show(
                    f"evaluating [{'#' * (30 * done // total):30}] {done}/{total} tokens"
                ),
            )  # fmt: skip
        finally:
            status.clear()
    write_importance(importance, args.output, overwrite=args.force)
    print(
        f"wrote {printable(args.output)}: {len(importance.sums)} matrices, "
        f"{importance.n_chunks} chunks of {importance.chunk_size} tokens",
        file=sys.stderr,
    )
    return 0
