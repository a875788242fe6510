"""``llamacpp memory``: what of a model is in memory, and what of it a token touches."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib.util import find_spec

from llamacpp import __version__
from llamacpp.cli import common
from llamacpp.errors import UnsupportedError

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Run a prompt and some tokens, and tell what of the model is in memory and what of it they touched.

private        what this process holds for itself: KV cache, scratch, the interpreter
shared         pages of mapped files, which all processes share: the weights
proportional   both, each page divided by the number of processes that map it (Pss)
page cache     what of the tensors is in memory, whoever read it
evicted        what left it so recently that more memory would have kept it (Linux 6.5)
by design      what of the weights a token is meant to read
faults         of a step: minor ones found their page in memory, major ones waited for a disk.
               One fault maps many pages, so faults x page size is not what was read
touched        with --trace: pages that a step read, exactly. Access to all pages is taken away
               before each step, and given back page by page at the first touch"""
EPILOG = """\
examples:
  llamacpp memory
  llamacpp memory -m model.gguf --trace
  llamacpp memory -m model.gguf -p "The moon is" -n 8 --trace --png pages.png
  llamacpp memory -m model.gguf --trace --json > pages.json

The tokens after the prompt are the most probable ones. Faults and memory are those of a first run,
touches those of a second one of the same tokens, which --trace makes slow: some microseconds for
each page. A page that two tensors share is touched for both. What a kernel prefetches and never
reads does not count. In the picture, lines that look alike are folded; --png and --json have all.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "memory",
        help="show what is in memory, and what is touched",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-p", "--prompt", default="Once upon a time", metavar="TEXT",
        help="what to evaluate first (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "-n", "--n-predict", type=common.number(), default=3, metavar="N",
        help="tokens to evaluate after it, one by one (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--trace", action="store_true", help="find which pages are touched, in a second run"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--png", metavar="FILE", help="draw tensors and pages into a file (needs matplotlib)"
    )
    common.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.api.prompt import text_tokens
    from llamacpp.measure.observation import as_json, as_text
    from llamacpp.measure.touches import observe

    if args.png and find_spec("matplotlib") is None:
        raise UnsupportedError("--png needs matplotlib: pip install 'llamacpp[plot]'")
    status = common.StatusLine()
    with common.open_model(args) as model:
        prompt = text_tokens(common.need_tokenizer(model), os.fsencode(args.prompt))
        try:
            seen = observe(
                model, prompt, args.n_predict,
                trace=args.trace, show=status.show, n_ctx=args.ctx, cache_type=args.cache_type,
            )  # fmt: skip
        finally:
            status.clear()
        if args.png:
            from llamacpp.measure.page_picture import save_picture

            save_picture(args.png, model.file, seen.resident, seen.touched)
        if args.json:
            print(as_json(model, seen, __version__))
        else:
            print(as_text(model, seen, shutil.get_terminal_size().columns, sys.stdout.encoding))
    return 0
