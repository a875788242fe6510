"""``llamacpp bench``: how fast a model runs here, beside what the machine allows."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llamacpp import __version__, bundled_model
from llamacpp.cli import common
from llamacpp.errors import InvalidArgumentError

if TYPE_CHECKING:
    from llamacpp.engine import Model
    from llamacpp.measure.benchmark import Result
    from llamacpp.measure.speed import Test

__all__ = ["add_parser", "run"]

MAX_THREADS = 256  # as in llamacpp.buffers, which is not loaded only to tell it
DESCRIPTION = """\
Measure how fast a model runs here, in the words of llama-bench, beside what the machine allows.
Every combination of the lists is a row: all prompts and decodes, at each depth, with each number
of threads.

pp512         a prompt of 512 tokens, evaluated together
tg64          64 tokens, evaluated one after another
tg64 x8       the same of 8 sequences at once; the tokens of all are counted
... @ d4096   behind 4096 tokens that the cache holds already
t/s           tokens per second: mean ± standard deviation of the repetitions
GB/s          10^9 bytes of weights, keys and values read per second, in decoding
of read       that, of the speed at which these weights can be read at all
GOP/s         10^9 operations of products with weights per second (multiply and add: two)
of int8       that, of the fastest 8-bit dot products that the cores can do
private MB    10^6 bytes of memory that this process has for itself, after the test
shared MB     10^6 bytes of files that it maps, which all processes share: the weights"""
EPILOG = """\
examples:
  llamacpp bench
  llamacpp bench -m model.gguf -t 1,2
  llamacpp bench -m model.gguf -p 512,2048 -n 128 -d 0,4096
  llamacpp bench -m model.gguf -p 0 -s 1,8 -o json > speed.json
  LLAMACPP_ISA=avx2 llamacpp bench -m model.gguf

Tokens are random and nothing is sampled. Each row is run once more, first, to warm up. Results go
to stdout, progress to stderr; after Ctrl-C the rows that are complete are printed.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "bench",
        help="measure speed and memory",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", metavar="FILE", help="GGUF file (default: the bundled story model)"
    )
    parser.add_argument(
        "-p", "--n-prompt", type=common.numbers(), default=[512], metavar="N,...",
        help="lengths of prompts, in tokens; 0: none (default: 512)",
    )  # fmt: skip
    parser.add_argument(
        "-n", "--n-gen", type=common.numbers(), default=[64], metavar="N,...",
        help="numbers of tokens to decode; 0: none (default: 64)",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--n-depth", type=common.numbers(), default=[0], metavar="N,...",
        help="tokens in the cache before either (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "-s", "--sequences", type=common.numbers(1), default=[1], metavar="N,...",
        help="sequences that decode together (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=common.numbers(1, MAX_THREADS), metavar="N,...",
        help="numbers of threads (default: the cores allowed)",
    )  # fmt: skip
    parser.add_argument(
        "-r", "--repetitions", type=common.number(1), default=3, metavar="N",
        help="counted runs of each row (default: %(default)s)",
    )  # fmt: skip
    common.add_cache_type(parser)
    parser.add_argument(
        "--no-limits", action="store_true", help="do not probe what the machine allows"
    )
    parser.add_argument(
        "-o", "--output", choices=("md", "json", "csv"), default="md", metavar="FORMAT",
        help="md: a table; json: a list of objects; csv: a header and lines (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.engine import Model
    from llamacpp.measure.report import FORMATS

    tests = _tests(args)
    results: list[Result] = []
    status = common.StatusLine()
    try:
        with Model.open(args.model or bundled_model()) as model:
            for n in args.threads or [model.n_threads]:
                for result in _measure(model, tests, n, args, status):
                    results.append(result)  # one by one: an interruption keeps them
    finally:
        status.clear()
        if results:  # also after Ctrl-C: the rows that are complete
            print(FORMATS[args.output](results, __version__))
    return 0


def _measure(
    model: Model, tests: list[Test], n: int, args: argparse.Namespace, status: common.StatusLine
) -> Iterator[Result]:
    """All tests with `n` threads."""
    from llamacpp.measure.benchmark import benchmark

    return benchmark(
        model,
        tests,
        n,
        repetitions=args.repetitions,
        cache_type=args.cache_type,
        limits=not args.no_limits,
        show=lambda what: status.show(f"{n} thread{'s' * (n != 1)}: {what}"),
    )


def _tests(args: argparse.Namespace) -> list[Test]:
    """All combinations, each once, in the order of their depths as given."""
    from llamacpp.measure.speed import Test

    tests = []
    for depth in args.n_depth:
        tests += [Test(n_prompt=n, n_depth=depth) for n in args.n_prompt if n]
        tests += [
            Test(n_gen=n, n_depth=depth, n_seq=n_seq)
            for n_seq in args.sequences
            for n in args.n_gen
            if n
        ]
    if not tests:
        raise InvalidArgumentError("there is nothing to run: give -p or -n a number above 0")
    return list(dict.fromkeys(tests))
