"""``llamacpp embed``: texts as vectors."""

from __future__ import annotations

import argparse
import json
from array import array
from typing import Any

from llamacpp.cli import common
from llamacpp.engine.pooling import POOLINGS
from llamacpp.errors import InvalidArgumentError

__all__ = ["add_parser", "run"]

EPILOG = """\
examples:
  llamacpp embed -m nomic-embed-text-v1.5.f16.gguf -p "search_query: who was Laika?"
  llamacpp embed -m bge-small-en-v1.5-f16.gguf -f sentences.txt > vectors.txt
  llamacpp embed -m bge-small-en-v1.5-f16.gguf -f sentences.txt --json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "embed",
        help="turn texts into vectors",
        description="Print the embeddings of texts: a vector per line, its numbers separated by "
        "spaces. Encoders (BERT, Nomic Embed) give what they were made for, other models their "
        "last hidden states.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-p", "--prompt", metavar="TEXT", help="the text")
    source.add_argument(
        "-f", "--file", metavar="FILE", help="a file with a text per line; - for standard input"
    )
    parser.add_argument(
        "--pooling", choices=POOLINGS, metavar="KIND",
        help="how the vectors of a text's tokens become one: mean, cls (the first), last; none: "
        "print them all, with an empty line between texts (default: what the file says, else mean "
        "for encoders and last for others)",
    )  # fmt: skip
    parser.add_argument(
        "--normalize", action=argparse.BooleanOptionalAction, default=True,
        help="divide vectors by their length (default: yes)",
    )  # fmt: skip
    parser.add_argument(
        "--truncate", action="store_true",
        help="use the beginning of a text that is too long, instead of refusing it",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON, as OpenAI's endpoint has it")
    common.add_model_options(
        parser, "tokens of a text at most (default: the model's)", keeps_cache=False
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.file is None:
        texts = [args.prompt]
    else:
        lines = common.read_bytes(args.file).decode("utf-8", "replace").split("\n")
        texts = [line.removesuffix("\r") for line in lines if line.strip()]
    if not texts:
        raise InvalidArgumentError(f"{args.file} holds no text")
    with common.open_model(args, args.ctx) as model:
        embedder = model.embedder(args.ctx, pooling=args.pooling)
        common.need_tokenizer(model)
        tokens = [embedder.tokens(text, args.truncate) for text in texts]
        vectors = embedder.embed_tokens(tokens, normalize=args.normalize)
        if args.json:
            print(_json([v.tolist() for v in vectors], tokens, model.file.path.name))
            return 0
        for number, vector in enumerate(vectors):
            if vector.ndim > 1 and number:
                print()
            for row in vector.reshape(-1, embedder.n_embd).tolist():
                print(*(f"{value:.9g}" for value in row))
    return 0


def _json(vectors: list[Any], tokens: list[array[int]], name: str) -> str:
    count = sum(map(len, tokens))
    report = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector}
            for i, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return json.dumps(report, allow_nan=False)
