"""``llamacpp quantize``: a model of floats, made into one of fewer bits."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from llamacpp.cli.common import StatusLine, number, printable
from llamacpp.errors import InvalidArgumentError

if TYPE_CHECKING:
    from llamacpp.quantize import Plan

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Make a smaller model: store the matrices of an F32, F16 or BF16 model in blocks of 1.6 to 8.5 bits.

Q8_0               8.5 bits per weight: next to no loss
Q6_K               6.6: hardly any
Q5_K_M, Q5_K_S     5.7, 5.5: little
Q4_K_M, Q4_K_S     4.8, 4.6: the usual choice
IQ4_NL, IQ4_XS     4.5, 4.3: values at uneven distances
Q3_K_L, _M, _S     4.3, 3.9, 3.5: noticeable
Q2_K               3.0: a lot
IQ3_M, _S, _XS, _XXS     3.7, 3.5, 3.3, 3.2: points of lattices, best with --imatrix
IQ2_M, _S, _XS, _XXS     2.8, 2.6, 2.4, 2.2: with --imatrix only, and a lot
IQ1_M, IQ1_S       2.0, 1.8: what is left of a large model
TQ2_0, TQ1_0       2.2, 1.8: for models that were trained with weights of -1, 0 and 1
MXFP4_MOE          experts in 4.25 bits, as gpt-oss has them; all else in Q8_0
Q4_0, Q4_1, Q5_0, Q5_1   4.5, 5, 5.5, 6: the older types, without super-blocks
F32, F16, BF16     floats"""
EPILOG = """\
examples:
  llamacpp quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M
  llamacpp imatrix -m model-f16.gguf -f text.txt -o model.imatrix.gguf
  llamacpp quantize model-f16.gguf model-q3_k_m.gguf Q3_K_M --imatrix model.imatrix.gguf
  llamacpp quantize model-f16.gguf model.gguf Q4_K_M --dry-run

Which matrix gets how many bits follows the rules of llama.cpp for types of these names. Rows that
are no multiple of 256 get a type of 32-wide blocks. Norms and other small tensors stay as they are.

With an importance matrix, errors count by the inputs they are multiplied with: best below 5 bits.
IQ types below 4 bits take much longer: a core does one to five million weights a second.

OUT appears when it is complete; after Ctrl-C or an error nothing is left of it.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "quantize",
        help="make a model smaller: fewer bits for each weight",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help="GGUF file; of a model in parts, any part")
    parser.add_argument("target", metavar="OUT", help="the file to write")
    parser.add_argument(
        "type", metavar="TYPE", type=str.upper, help="one of the types above, such as Q4_K_M"
    )
    parser.add_argument(
        "--imatrix", metavar="FILE", help="importance matrix (llamacpp imatrix, or llama.cpp's)"
    )
    parser.add_argument(
        "--keep-output", metavar="TYPE", type=str.upper,
        help="type of the output matrix, such as Q8_0 or F16 (default: as TYPE has it)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-requantize", action="store_true",
        help="take matrices that are quantised already, though that adds error to error",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=number(1, 256), metavar="N",
        help="threads (default: the cores allowed)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="write nothing: show types and sizes (to stdout)"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if os.path.lexists(args.target) and not args.force and not args.dry_run:
        raise InvalidArgumentError(f"{args.target} exists; --force replaces it")
    from llamacpp.format import GGMLType, ModelFile
    from llamacpp.quantize import SMALLEST, plan_model, quantize_model, read_importance

    output = args.keep_output
    if output is not None and output not in GGMLType.__members__:
        raise InvalidArgumentError(f"--keep-output: there is no type {output!r}; give one as Q8_0")
    importance = read_importance(args.imatrix) if args.imatrix else None
    if importance is None and args.type in SMALLEST:
        print(f"{args.type} without --imatrix: expect nonsense of most models", file=sys.stderr)
    how = {
        "importance": importance,
        "output_type": GGMLType[output] if output else None,
        "allow_requantize": args.allow_requantize,
    }
    if args.dry_run:
        with ModelFile(args.source) as file:
            plan = plan_model(file, args.type, **how)
            print(_table(plan))
        return 0
    status, start = StatusLine(), time.perf_counter()

    def progress(done: int, total: int) -> None:
        rate = done / max(time.perf_counter() - start, 1e-9) / 1e6
        bar = "#" * (30 * done // total)
        status.show(f"quantizing [{bar:30}] {done >> 20}/{total >> 20} MiB, {rate:.0f} MB/s")

    try:
        plan = quantize_model(
            args.source, args.target, args.type,
            n_threads=args.threads, overwrite=args.force, progress=progress, **how,
        )  # fmt: skip
    finally:
        status.clear()
    _tell_of_missing(plan, importance is not None)
    print(f"wrote {printable(args.target)}: {_total(plan)}", file=sys.stderr)
    return 0


def _total(plan: Plan) -> str:
    before = sum(planned.tensor.nbytes for planned in plan.tensors)
    return (
        f"{before / 1e6:.1f} MB of tensors became {plan.nbytes / 1e6:.1f} MB, "
        f"{plan.bits_per_weight:.2f} bits per weight"
    )


def _table(plan: Plan) -> str:
    """A line for each tensor, and the total."""
    width = max(len(planned.tensor.name) for planned in plan.tensors)
    lines = []
    for tensor, kind, weighted in plan.tensors:
        shape = " x ".join(str(extent) for extent in tensor.shape)
        after = tensor.n_rows * kind.row_nbytes(tensor.shape[0])
        lines.append(
            f"{printable(tensor.name):{width}}  {shape:>16}  {tensor.type.name:>6} -> "
            f"{kind.name:6}  {tensor.nbytes / 1e6:10.3f} -> {after / 1e6:10.3f} MB"
            f"{'  weighted' if weighted else ''}".rstrip()
        )
    return "\n".join([*lines, f"{plan.mix}: {_total(plan)}"])


def _tell_of_missing(plan: Plan, has_importance: bool) -> None:
    """Say which encoded matrices the importance matrix does not know."""
    left_out = [p.tensor.name for p in plan.tensors if p.is_changed and not p.is_weighted]
    if has_importance and left_out:
        print(
            f"not in the importance matrix, so all columns weighed the same: "
            f"{printable(', '.join(left_out))}",
            file=sys.stderr,
        )
