"""The command line: one module per command, text to stdout, everything else to stderr.

Exit codes: 0 success, 2 bad usage or a bad file, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llamacpp import __version__
from llamacpp.cli import chat, cpu, generate, inspect, tokenize
from llamacpp.errors import LlamaError

__all__ = ["build_parser", "main"]

COMMANDS = (generate, chat, inspect, tokenize, cpu)

EPILOG = """\
examples:
  llamacpp generate -p "Once upon a time"
  llamacpp generate -m model.gguf -f prompt.txt -n 100 --temp 0 > answer.txt
  llamacpp chat -m model.gguf
  llamacpp inspect model.gguf

environment:
  LLAMACPP_ISA   use the kernels of one instruction-set level (see `llamacpp cpu`)
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, as the docs and tests see it."""
    parser = argparse.ArgumentParser(
        prog="llamacpp",
        description="Run LLaMA-family language models on the CPU, from the model file itself.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llamacpp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except LlamaError as error:
        print(f"llamacpp: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: not an error, and nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
