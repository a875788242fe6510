"""``llamacpp generate``: continue a text."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable

from llamacpp.cli import common
from llamacpp.errors import InvalidArgumentError
from llamacpp.tokenizer import TokenStream

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "generate",
        help="continue a text",
        description="Print a prompt and the model's continuation of it, as it is written. "
        "The text goes to stdout, timings go to stderr.",
    )
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("-p", "--prompt", metavar="TEXT", help="the text to continue")
    prompt.add_argument("-f", "--file", metavar="FILE", help="a file that holds it")
    prompt.add_argument(
        "stdin", nargs="?", choices=["-"], metavar="-", help="read it from standard input"
    )
    parser.add_argument(
        "-n", "--n-predict", type=int, default=512, metavar="N",
        help="tokens to generate at most; -1: until the end or a full context "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--no-echo", action="store_true", help="print the continuation only")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no timings")
    common.add_sampling_options(parser)
    common.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.api.prompt import check_room, text_tokens

    started = time.perf_counter()
    prompt = _prompt(args)
    if args.n_predict < -1:
        raise InvalidArgumentError(f"-n must be -1 or more, not {args.n_predict}")
    params = common.sampling_params(args)
    with common.open_model(args, _positions(args, prompt)) as model:
        if not args.quiet:
            common.tell_of_window(model)
        tokenizer = common.need_tokenizer(model)
        session = model.session(args.ctx, cache_type=args.cache_type)
        tokens = text_tokens(tokenizer, prompt)
        check_room(session, len(tokens))
        clock = _Clock(started, len(tokens))
        produced = session.generate(
            tokens,
            max_tokens=None if args.n_predict == -1 else args.n_predict,
            params=params,
            progress=common.Prefill(args.quiet),
        )
        try:
            if not args.no_echo:
                common.write(prompt)
            _show(produced, TokenStream(tokenizer, continuation=bool(prompt)), clock)
        finally:
            if not args.quiet:
                clock.report()
    return 0


def _show(produced: Iterable[int], stream: TokenStream, clock: _Clock) -> None:
    try:
        for token in produced:
            clock.tick()
            common.write(stream.feed(token))
    finally:
        common.write(stream.flush() + "\n")


def _positions(args: argparse.Namespace, prompt: bytes) -> int | None:
    """Positions that the run can come to; None: what the model was trained for."""
    n_predict: int = args.n_predict
    n_ctx: int | None = args.ctx
    if n_ctx is None and n_predict != -1:
        n_ctx = len(prompt) + 1 + n_predict  # a token has a byte or more
    return n_ctx


def _prompt(args: argparse.Namespace) -> bytes:
    """The prompt, byte for byte."""
    if args.prompt is not None:
        return os.fsencode(args.prompt)
    if args.file is not None or args.stdin is not None:
        return common.read_bytes(args.file or args.stdin)
    raise InvalidArgumentError("give a prompt: -p TEXT, -f FILE, or - for standard input")


class _Clock:
    """Times of loading, of the prompt and of decoding."""

    def __init__(self, started: float, n_prompt: int) -> None:
        self._loaded = time.perf_counter()
        self._load = self._loaded - started
        self._n_prompt = n_prompt
        self._first = 0.0
        self._last = 0.0
        self._count = 0

    def tick(self) -> None:
        self._last = time.perf_counter()
        self._first = self._first or self._last
        self._count += 1

    def report(self) -> None:
        line = f"load {self._load:.3f} s"
        if self._count:
            rate = self._n_prompt / (self._first - self._loaded)
            line += f" | prompt {self._n_prompt} tokens, {rate:.1f} tok/s"
        if self._count > 1:
            rate = (self._count - 1) / (self._last - self._first)
            line += f" | decode {self._count} tokens, {rate:.1f} tok/s"
        print(line, file=sys.stderr)
