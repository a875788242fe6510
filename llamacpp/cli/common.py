"""Options and helpers that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamacpp import bundled_model
from llamacpp.errors import InvalidArgumentError, ModelFileError

if TYPE_CHECKING:
    from llamacpp.engine import Model
    from llamacpp.sampling import SamplingParams
    from llamacpp.tokenizer import Tokenizer

__all__ = [
    "Prefill",
    "StatusLine",
    "add_cache_type",
    "add_model_options",
    "add_sampling_options",
    "memory_options",
    "need_tokenizer",
    "number",
    "numbers",
    "open_model",
    "printable",
    "read_bytes",
    "sampling_params",
    "tell_of_window",
    "write",
]


def add_model_options(
    parser: argparse.ArgumentParser,
    n_ctx: str = "context size in tokens (default: the model's)",
    *,
    keeps_cache: bool = True,
) -> None:
    """``-m``, ``-t``, ``-c`` and where weights lie; `n_ctx` tells what -c is.

    And ``--cache-type``, for commands that keep keys and values.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "-m", "--model", metavar="FILE", help="GGUF file (default: the bundled story model)"
    )
    group.add_argument(
        "-t", "--threads", type=int, metavar="N", help="threads (default: the cores allowed)"
    )
    group.add_argument("-c", "--ctx", type=int, metavar="N", help=n_ctx)
    if keeps_cache:
        add_cache_type(group)
    group.add_argument(
        "--memory-limit", default="auto", metavar="SIZE",
        help="what the process may hold, such as 6G: weights beyond it are read from the file for "
        "every token (default: what cgroup and machine leave)",
    )  # fmt: skip
    group.add_argument(
        "--mlock", action="store_true", help="ask the system to keep the weights in memory"
    )
    group.add_argument(
        "--no-mmap", action="store_true",
        help="read the file into private memory: for network file systems, and files that others "
        "write to",
    )  # fmt: skip


def memory_options(args: argparse.Namespace) -> dict[str, Any]:
    """What `Model.open` and `Llama` are told of them."""
    status = StatusLine()

    def progress(done: int, total: int) -> None:
        status.show(f"reading: {done / 1e9:.1f} of {total / 1e9:.1f} GB")
        if done == total:
            status.clear()

    return {
        "memory_limit": args.memory_limit,
        "use_mmap": not args.no_mmap,
        "progress": progress if args.no_mmap else None,
    }


def tell_of_window(model: Model) -> None:
    """Say what a model that is larger than memory will be like, before it is."""
    if model.network.window is not None:
        plan, rate = model.plan, model.network.window.probe()
        print(
            f"larger than memory: {plan.kept_bytes / 1e9:.2f} GB of weights are kept,"
            f" {plan.streamed_bytes / 1e9:.2f} GB are read for every token, at"
            f" {rate / 1e9:.2f} GB/s: about {rate / plan.streamed_bytes:.2f} tokens per second",
            file=sys.stderr,
        )


def add_cache_type(parser: argparse._ActionsContainer) -> None:
    """``--cache-type``."""
    parser.add_argument(
        "--cache-type", choices=("f16", "f32", "q8_0"), default="f16", metavar="TYPE",
        help="type of keys and values: f16, f32 or q8_0 (default: %(default)s)",
    )  # fmt: skip


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Temperature and its companions, with the library's defaults."""
    group = parser.add_argument_group("sampling")
    group.add_argument(
        "--temp", type=float, default=0.8, metavar="T",
        help="temperature; 0 always takes the most probable token (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--top-k", type=int, default=40, metavar="K",
        help="keep the K most probable tokens; 0 keeps all (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--top-p", type=float, default=0.95, metavar="P",
        help="keep the most probable tokens up to a total of P (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--min-p", type=float, default=0.05, metavar="P",
        help="drop tokens less probable than P times the best (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--repeat-penalty", type=float, default=1.0, metavar="R",
        help="divide the scores of the last 64 tokens by R (default: %(default)s: off)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, metavar="S", help="same seed, same text")


def numbers(least: int = 0, most: int = 2**31 - 1) -> Callable[[str], list[int]]:
    """Make a type of option: whole numbers in a range, separated by commas; repeated ones once."""

    def parse(text: str) -> list[int]:
        words = [word.strip() for word in text.split(",")]
        if not all(word.isascii() and word.isdigit() for word in words):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give a whole number from {least}, or several as in 1,2"
            )
        values = [int(word) for word in words]
        for value in values:
            if not least <= value <= most:
                raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return list(dict.fromkeys(values))

    return parse


def number(least: int = 0, most: int = 2**31 - 1) -> Callable[[str], int]:
    """Make a type of option: one whole number in a range."""

    def parse(text: str) -> int:
        value, *more = numbers(least, most)(text)
        if more:
            raise argparse.ArgumentTypeError(f"{text!r}: give one number")
        return value

    return parse


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """The parameters that the options ask for."""
    from llamacpp.sampling import SamplingParams

    return SamplingParams(
        temperature=args.temp,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repeat_penalty=args.repeat_penalty,
        seed=args.seed,
    )


def open_model(args: argparse.Namespace, n_ctx: int | None = None) -> Model:
    """Open the model of ``-m``, or the bundled one; n_ctx: positions that will be used, if told."""
    from llamacpp.engine import Model

    return Model.open(
        args.model or bundled_model(), n_threads=args.threads, mlock=args.mlock, n_ctx=n_ctx,
        **memory_options(args),
    )  # fmt: skip


def need_tokenizer(model: Model) -> Tokenizer:
    """The model's tokenizer.

    Raises:
        InvalidArgumentError: it has none, so text is no way to talk to it.
    """
    if model.tokenizer is None:
        raise InvalidArgumentError(
            f"{model.file.path} has no tokenizer: it works on token ids, from Python"
        )
    return model.tokenizer


def read_bytes(path: str) -> bytes:
    """A file, or standard input for ``-``."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error


def write(text: str | bytes) -> None:
    """Text to stdout at once, as UTF-8 whatever the terminal's encoding; bytes as they are."""
    if text:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode() if isinstance(text, str) else text)
        sys.stdout.buffer.flush()


def printable(text: str) -> str:
    """Text on one line, without characters that could play tricks on a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Prefill:
    """Shows the progress of a long prompt on a terminal's stderr; silent elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self._shown = False
        self._on = not quiet and sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Take note that `done` of `total` tokens are evaluated."""
        if self._on and (self._shown or done < total):
            self._shown = True
            bar = "#" * (30 * done // total)
            end = "\r\033[K" if done == total else ""
            print(f"\rprompt [{bar:30}] {done}/{total}{end}", end="", file=sys.stderr, flush=True)


class StatusLine:
    """A line on a terminal's stderr that is written over; silent elsewhere."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Say what is being done."""
        if self._on:
            print(f"\r\033[K{printable(text)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._on:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
