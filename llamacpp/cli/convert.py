"""``llamacpp convert``: a model in another format, made into a GGUF file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from llamacpp.cli.common import StatusLine, printable
from llamacpp.errors import InvalidArgumentError

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Make a GGUF file of a model in another format: a folder with a Hugging Face model, or a ggml, ggmf
or ggjt file of 2023, in one part or several.

a folder      config.json, *.safetensors (or what PyTorch saved, if that is installed),
              tokenizer.json or tokenizer.model
ggml, ggmf    March 2023; in parts named FILE, FILE.1, FILE.2, ...
ggjt v1, v2   until May 2023; most blocks were laid out otherwise than today
ggjt v3       until August 2023; these run as they are, without conversion"""
EPILOG = """\
examples:
  llamacpp convert SmolLM2-135M smollm2-135m.gguf
  llamacpp convert Qwen3-8B qwen3-8b.gguf --type q8_0
  llamacpp convert ggml-model-q4_0.bin llama-7b-q4_0.gguf
  llamacpp convert llama-2-7b.ggmlv3.q5_1.bin llama-2-7b.gguf --ctx 4096 --norm-eps 1e-5

Of files of 2023, codes keep their values, and no weight is quantised anew. Scales that were
float32 (Q4_0, Q4_1 and Q8_0 before ggjt v3) are rounded to float16, as in today's blocks. Q4_2 and
Q4_3 have no block today and become F16, which takes three times the space. Little memory is used,
whatever the size.

NEW.gguf appears when it is complete; after Ctrl-C or an error nothing is left of it.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "convert",
        help="make a GGUF file of a model in another format",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="OLD", help="the folder, or the file; of a model in parts, any part"
    )
    parser.add_argument("target", metavar="NEW.gguf", help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace NEW.gguf if it exists")
    group = parser.add_argument_group("Hugging Face models")
    group.add_argument(
        "--type", choices=("f32", "f16", "bf16", "q8_0"), metavar="TYPE",
        help="of matrices: f32, f16, bf16 or q8_0 (default: f16)",
    )  # fmt: skip
    group.add_argument(
        "--pre", metavar="NAME",
        help="GGUF's name of what cuts a text into words, where it is not recognised",
    )  # fmt: skip
    group = parser.add_argument_group("what files of 2023 do not tell")
    group.add_argument(
        "-c", "--ctx", type=int, metavar="N",
        help="context size the model was trained for (default: 2048; 4096 for LLaMA 2 70B)",
    )  # fmt: skip
    group.add_argument(
        "--norm-eps", type=float, metavar="EPS",
        help="epsilon of the norms: 1e-6 for LLaMA 1, 1e-5 for LLaMA 2 (default: 1e-6 up to "
        "ggjt v2, 1e-5 for LLaMA 2 70B, otherwise 5e-6, which suits both)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if os.path.lexists(args.target) and not args.force:
        raise InvalidArgumentError(f"{args.target} exists; --force replaces it")
    status = StatusLine()
    try:
        if Path(args.source).is_dir():
            _convert_folder(args, status)
        else:
            _convert_file(args, status)
    finally:
        status.clear()
    print(f"wrote {printable(args.target)}", file=sys.stderr)
    return 0


def _convert_folder(args: argparse.Namespace, status: StatusLine) -> None:
    _refuse(args, "a folder", ctx="-c", norm_eps="--norm-eps")
    from llamacpp.convert import convert_hf

    convert_hf(
        args.source,
        args.target,
        type=args.type or "f16",
        overwrite=args.force,
        pre=args.pre,
        progress=lambda done, total: status.show(_bar(done, total, "million weights", 10**6)),
    )


def _convert_file(args: argparse.Namespace, status: StatusLine) -> None:
    _refuse(args, "a file of 2023", type="--type", pre="--pre")
    from llamacpp.format.legacy.convert import convert_legacy

    convert_legacy(
        args.source,
        args.target,
        overwrite=args.force,
        n_ctx=args.ctx,
        norm_eps=args.norm_eps,
        progress=lambda done, total: status.show(_bar(done, total, "MiB", 1 << 20)),
    )


def _refuse(args: argparse.Namespace, what: str, **options: str) -> None:
    """Options that mean nothing for what is converted are mistakes."""
    for name, option in options.items():
        if getattr(args, name) is not None:
            raise InvalidArgumentError(f"{option} is not for {what}")


def _bar(done: int, total: int, unit: str, size: int) -> str:
    bar = "#" * (30 * done // total)
    return f"converting [{bar:30}] {done // size}/{total // size} {unit}"
