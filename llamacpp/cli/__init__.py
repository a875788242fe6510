"""The command line: one module per command, text to stdout, everything else to stderr.

Exit codes: 0 success, 2 bad usage or a bad file, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from llamacpp import __version__
from llamacpp.cli.common import printable
from llamacpp.errors import LlamaError

__all__ = ["build_parser", "main"]

EPILOG = """\
examples:
  llamacpp generate -p "Once upon a time"
  llamacpp generate -m model.gguf -f prompt.txt -n 100 --temp 0 > answer.txt
  llamacpp chat -m model.gguf
  llamacpp embed -m encoder.gguf -f sentences.txt
  llamacpp inspect model.gguf
  llamacpp convert ggml-model-q4_0.bin model.gguf
  llamacpp quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M
  llamacpp bench -m model.gguf
  llamacpp memory -m model.gguf --trace
  llamacpp sparsity -m model.gguf -f text.txt
  llamacpp perplexity -m model.gguf -f text.txt

environment:
  LLAMACPP_ISA         use the kernels of one instruction-set level (see `llamacpp cpu`)
  LLAMACPP_BUS_GUARD   0: let a file that shrinks while in use end the process

exit codes:
  0 success, 2 bad usage or a bad file, 130 after Ctrl-C
"""


COMMANDS = (
    *("generate", "chat", "embed", "inspect", "tokenize", "convert"),
    *("quantize", "imatrix"),
    *("bench", "memory", "sparsity", "perplexity", "verify", "cpu"),
)


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line; `--help` tells the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")


def build_parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The command line, with the commands of these names: all, as the docs and tests see it."""
    parser = _Parser(
        prog="llamacpp",
        description="Run LLaMA-family language models on the CPU, from the model file itself.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llamacpp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in names:
        import_module(f"llamacpp.cli.{name}").add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a character is no error
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        given = sys.argv[1:] if argv is None else list(argv)
        # The modules of the other commands take longer to load than a small model.
        parser = build_parser(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS)
        args = parser.parse_args(given)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except LlamaError as error:
        message = str(error)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: not an error, and nothing is left to flush.
        _discard_output()
        return 0
    except OSError as error:  # the disk that takes the output is full, and its like
        _discard_output()
        message = str(error)
    print(f"llamacpp: {printable(message)}", file=sys.stderr)
    return 2


def _replace_closed_streams() -> None:
    """Let a standard stream that the caller closed be an empty one: Python has None there."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  for good


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere, so that closing it cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
