"""``llamacpp verify``: whether a model computes what PyTorch computes."""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacpp import __version__
from llamacpp.cli import common
from llamacpp.errors import InvalidArgumentError

if TYPE_CHECKING:
    from llamacpp.engine import Model
    from llamacpp.measure.verify import Agreement

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Evaluate the same tokens here and in PyTorch, by the transformers library in float64, and compare.

layer N     the residual stream after a layer
max error   largest difference of two values
NMSE        sum of squared differences over that of PyTorch's squares
KL, top-1   of the predictions of the next token: divergence from PyTorch's, in nats, and the share
            of positions where both hold the same one for the most probable

It needs PyTorch and transformers: pip install 'llamacpp[parity]'."""
EPILOG = """\
examples:
  llamacpp verify SmolLM2-135M
  llamacpp verify smollm2-135m-q8_0.gguf --against SmolLM2-135M
  llamacpp verify SmolLM2-135M -p "The moon is" --json

A folder is converted to F32 first, to a temporary file. The bound of the NMSE of logits is by the
coarsest type of the matrices: 1e-9 for F32, 1e-5 for F16, 1e-3 for BF16, 1e-2 for Q8_0, 0.5 for
all others.

exit codes:
  0 within the bound, 1 beyond it or NaN, 2 bad usage or a bad file
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "verify",
        help="compare with PyTorch, layer by layer",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a Hugging Face folder, or a GGUF file")
    parser.add_argument(
        "--against", metavar="FOLDER", help="the Hugging Face folder that a GGUF file came from"
    )
    parser.add_argument(
        "-p", "--prompt", metavar="TEXT", help="what to evaluate (default: random tokens)"
    )
    parser.add_argument(
        "-n", "--tokens", type=common.number(1), default=64, metavar="N",
        help="random tokens of each of three prompts (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--bound", type=float, metavar="NMSE", help="error of logits that is allowed"
    )
    parser.add_argument(
        "-t", "--threads", type=int, metavar="N", help="threads (default: the cores allowed)"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.engine import Model
    from llamacpp.measure.verify import verify

    is_folder = Path(args.model).is_dir()
    if is_folder == (args.against is not None):
        raise InvalidArgumentError(
            "--against is for a GGUF file, which needs it to name the folder that it came from"
        )
    status = common.StatusLine()
    with ExitStack() as stack:
        path = args.model
        if is_folder:
            from llamacpp.convert import convert_hf

            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.gguf"
            convert_hf(
                args.model, path, type="f32", vocabulary=args.prompt is not None,
                progress=lambda done, total: status.show(f"converting: {done / total:.0%}"),
            )  # fmt: skip
        model = stack.enter_context(Model.open(path, n_threads=args.threads))
        status.show("loading the reference")
        try:
            found = verify(
                model, args.against or args.model, _prompts(args, model), bound=args.bound,
                progress=lambda done, total: status.show(f"prompt {done} of {total}"),
            )  # fmt: skip
        finally:
            status.clear()
    print(_json(found, str(args.model)) if args.json else _text(found))
    return 0 if found.holds else 1


def _prompts(args: argparse.Namespace, model: Model) -> list[list[int]]:
    if args.prompt is not None:
        return [common.need_tokenizer(model).encode(args.prompt)]
    draw = random.Random(0)
    n = min(args.tokens, model.config.n_ctx_train)
    return [[draw.randrange(model.n_vocab) for _ in range(n)] for _ in range(3)]


def _text(found: Agreement) -> str:
    from llamacpp.measure.report import markdown_table

    rows = [[row.name, f"{row.max_error:.2e}", f"{row.nmse:.2e}"] for row in found.rows]
    verdict = "within" if found.holds else "BEYOND"
    return "\n".join(
        [
            markdown_table(["", "max error", "NMSE"], rows, 1),
            f"KL {found.kl:.2e} nats, top-1 {found.top1:.2%}",
            f"{verdict} the bound: NMSE of logits {found.rows[-1].nmse:.2e}, allowed"
            f" {found.bound:.0e}",
        ]
    )


def _json(found: Agreement, name: str) -> str:
    report: dict[str, Any] = {
        "model": name, **asdict(found), "holds": found.holds, "version": __version__,
    }  # fmt: skip
    for part in (report, *report["rows"]):  # JSON has no NaN and no infinity
        for key, value in part.items():
            if isinstance(value, float) and not math.isfinite(value):
                part[key] = None
    return json.dumps(report, indent=1, allow_nan=False)
