"""``llamacpp tokenize``: how a model's tokenizer cuts a text."""

from __future__ import annotations

import argparse
import os

from llamacpp import bundled_model
from llamacpp.cli import common
from llamacpp.errors import InvalidArgumentError
from llamacpp.format import ModelFile

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "tokenize",
        help="show the tokens of a text",
        description="Print the tokens of a text, one per line: the id, and the text or bytes that "
        "it stands for. Works for any architecture: only the vocabulary is used.",
    )
    parser.add_argument(
        "-m", "--model", metavar="FILE", help="GGUF file (default: the bundled story model)"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("text", nargs="?", metavar="TEXT", help="the text (- for standard input)")
    source.add_argument("-f", "--file", metavar="FILE", help="a file that holds it")
    parser.add_argument("--ids", action="store_true", help="only the ids, on one line")
    parser.add_argument("--no-bos", action="store_true", help="do not add the BOS token")
    parser.add_argument(
        "--parse-special", action="store_true", help="read <|eot_id|> and its like as tokens"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.tokenizer import load_tokenizer

    if args.file is None and args.text is None:
        raise InvalidArgumentError("give a text: TEXT, -f FILE, or - for standard input")
    from_file = args.file is not None or args.text == "-"
    text = common.read_bytes(args.file or "-") if from_file else os.fsencode(args.text)
    with ModelFile(args.model or bundled_model()) as file:
        tokenizer = load_tokenizer(file.metadata)
        if tokenizer is None:
            raise InvalidArgumentError(f"{file.path} has no tokenizer")
        ids = tokenizer.encode(
            text, add_bos=False if args.no_bos else None, parse_special=args.parse_special
        )
        if args.ids:
            print(*ids)
        else:
            for token in ids:
                print(f"{token:7} {_shown(tokenizer.token_bytes(token))}")
    return 0


def _shown(data: bytes) -> str:
    """A token in quotes, as text where it is text."""
    try:
        return repr(data.decode())
    except UnicodeDecodeError:
        return repr(data)
