"""``llamacpp sparsity``: how few neurons and heads carry the work, and what the others are for."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from llamacpp import __version__
from llamacpp.cli import common

if TYPE_CHECKING:
    from llamacpp.measure.sparsity import Sparsity

__all__ = ["add_parser", "run"]

DESCRIPTION = """\
Evaluate a text, and tell how concentrated the work of a model is on it.

What a feed-forward part adds is a sum over its neurons, what attention adds one over its heads.
The energy of a term is its squared norm. Shown is the share of the terms that hold most of it, and
what happens to the predictions when all others are left out, in all layers at once:

dynamic   the fewest terms that hold so much, chosen anew for each token; where terms are left
          out, by what is left of the token
static    the fewest that hold so much over the whole text, chosen once
random    any terms, of each token in each layer as many as hold so much in the whole model:
          what the choice is worth
KL        of the predictions of the whole model from those of the rest, in nats; the mean
top-1     share of the tokens after which both hold the same one for the most probable
saved     share of the bytes of weights that a token reads, which belong to what is left out: no
          less can be saved, as columns of ffn_down lie in all of its pages and blocks. Dynamic:
          the choice is made late, and concerns only columns of ffn_down or attn_output"""
EPILOG = """\
examples:
  llamacpp sparsity -f story.txt
  llamacpp sparsity -m model.gguf -f text.txt -n 2000 -c 512
  llamacpp sparsity -m model.gguf -f - --json < text.txt > sparsity.json

The text is cut into windows, which are evaluated 14 times: twice whole, and once for each row of
the second table.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "sparsity",
        help="show how few neurons and heads carry the work on a text",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--file", metavar="FILE", required=True, help="the text; - for standard input"
    )
    parser.add_argument(
        "-n", "--tokens", type=common.number(2), default=2048, metavar="N",
        help="use no more than so many tokens of it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    common.add_model_options(parser, "tokens of a window (default: 256)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.measure.sparsity import WINDOW, measure_sparsity

    text = common.read_bytes(args.file)
    status = common.StatusLine()
    with common.open_model(args, args.ctx) as model:
        tokens = common.need_tokenizer(model).encode(text, add_eos=False)
        if len(tokens) > args.tokens:
            print(f"of {len(tokens)} tokens, the first {args.tokens} are used", file=sys.stderr)
            tokens = tokens[: args.tokens]
        window = min(WINDOW, model.config.n_ctx_train) if args.ctx is None else args.ctx

        def progress(done: int, total: int) -> None:
            bar = "#" * (30 * done // total)
            status.show(f"sparsity [{bar:30}] {done}/{total} passes over a window")

        try:
            found = measure_sparsity(
                model, tokens, window=window, cache_type=args.cache_type, progress=progress
            )
        finally:
            status.clear()
        print(_json(found, model.file.path.name) if args.json else _text(found), end="")
    return 0


def _text(found: Sparsity) -> str:
    from llamacpp.measure.report import NOTHING, markdown_table

    levels = sorted({row.level for row in found.layers})
    parts = list(dict.fromkeys(effect.part for effect in found.effects))
    columns = [(part, level) for part in parts for level in levels]
    names = {"ffn": "neurons", "heads": "heads"}
    cells = {(row.layer, row.part, row.level): row for row in found.layers}
    header = ["layer"]
    for part, level in columns:
        header += [f"{names[part]}, {level:.0%}: dynamic", "static"]
    rows = []
    for layer in sorted({row.layer for row in found.layers}):
        row = [str(layer)]
        for part, level in columns:
            share = cells[layer, part, level]
            row += [f"{share.dynamic:.1%}", f"{share.static:.1%}"]
        rows.append(row)
    effects = [
        [
            f"{names[e.part]}, {e.level:.0%}, {e.choice}",
            f"{e.kept:.1%}",
            f"{e.kl:.4f}",
            f"{e.top1:.1%}",
            NOTHING if e.saved is None else f"{e.saved:.1%}",
        ]
        for e in found.effects
    ]
    return "\n".join(
        [
            f"{found.n_tokens} tokens, windows: {found.n_windows}",
            "",
            "Share of the terms that hold so much of the energy:",
            "",
            markdown_table(header, rows, 1),
            "Without the others:",
            "",
            markdown_table(["kept", "of all", "KL, nats", "top-1", "saved"], effects, 1),
        ]
    )


def _json(found: Sparsity, name: str) -> str:
    report = {
        "model": name,
        "n_tokens": found.n_tokens,
        "n_windows": found.n_windows,
        "layers": [vars(row) for row in found.layers],
        "effects": [vars(effect) for effect in found.effects],
        "version": __version__,
    }
    return json.dumps(report, indent=1, allow_nan=False) + "\n"
