"""``llamacpp perplexity``: how well a model predicts a text, and how near it is to another one."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

from llamacpp import __version__
from llamacpp.cli import common

if TYPE_CHECKING:
    from llamacpp.measure.perplexity import Perplexity

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Score a text: the lower the perplexity, the better the model predicts it.

With --kl-base, a second model is run side by side, and the predictions are compared: a quantised
model with the file that it was made of.

KL         divergence of the predictions from those of the base, in nats: the mean, and what half
           of the tokens, and 99 %, do not exceed
same top   share of the tokens where both hold the same next token for the most probable
delta p    change of the probability of the token that does follow: its mean, and the root of the
           mean of its square"""
EPILOG = """\
examples:
  llamacpp perplexity -f story.txt -c 128
  llamacpp perplexity -m model-q4_0.gguf -f wiki.test.raw
  llamacpp perplexity -m model-q4_0.gguf -f wiki.test.raw --kl-base model-f16.gguf --json

As in llama.cpp, the text is cut into windows, each begins with BOS where the vocabulary wants it,
and what follows the first half of a window is scored. Other windows give other figures.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "perplexity",
        help="score a text, and compare with another model",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", required=True, help="the text; - for standard input"
    )
    parser.add_argument(
        "--kl-base", metavar="FILE", help="compare with the predictions of this model"
    )
    parser.add_argument(
        "--windows", type=common.number(2), metavar="N", help="use no more of them (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    common.add_model_options(parser, "tokens of a window (default: 512, or what the model has)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.measure.perplexity import N_CTX, measure_perplexity

    text = common.read_bytes(args.file)
    status, began = common.StatusLine(), time.monotonic()

    def progress(done: int, total: int, ppl: float) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        status.show(f"window {done} of {total}, perplexity {ppl:.4f}, {left:.0f} s left")

    with ExitStack() as stack:
        model = stack.enter_context(common.open_model(args, args.ctx))
        base = None
        if args.kl_base is not None:
            other = argparse.Namespace(**{**vars(args), "model": args.kl_base})
            base = stack.enter_context(common.open_model(other, args.ctx))
        n_ctx = min(N_CTX, model.config.n_ctx_train) if args.ctx is None else args.ctx
        tokens = common.need_tokenizer(model).encode(text, add_eos=False)
        if args.windows is not None:
            tokens = tokens[: args.windows * n_ctx]
        try:
            found = measure_perplexity(
                model, tokens, n_ctx=n_ctx, base=base, cache_type=args.cache_type, progress=progress
            )
        finally:
            status.clear()
        print(_json(found, model.file.path.name) if args.json else _text(found))
    return 0


def _text(found: Perplexity) -> str:
    lines = [
        f"perplexity   {found.ppl:.4f} ± {found.ppl_error:.4f}",
        f"scored       {found.n_scored} tokens, in windows of {found.n_ctx}: {found.n_windows}",
    ]
    if (d := found.divergence) is not None:
        lines += [
            f"of the base  {d.base_ppl:.4f}",
            f"KL           {d.kl:.6f} ± {d.kl_error:.6f} nats; median {d.kl_median:.6f},"
            f" 99 % {d.kl_99:.6f}, most {d.kl_max:.6f}",
            f"same top     {d.same_top:.3%} ± {d.same_top_error:.3%}",
            f"delta p      {d.delta_p:+.3%}, root mean square {d.delta_p_rms:.3%}",
        ]
    return "\n".join(lines)


def _json(found: Perplexity, name: str) -> str:
    report = {"model": name, **asdict(found), "version": __version__}
    return json.dumps(report, indent=1, allow_nan=False)
