"""What each weight type costs in predictions (docs/accuracy.md).

    python -m bench.accuracy -m F32.gguf -f TEXT [-c N] [-t N]

The model is quantised to a temporary folder as every mix that can be written, and each is compared
with it on the text: a markdown table of size, perplexity, KL divergence and first choices.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llamacpp import Model
from llamacpp.buffers import MAX_THREADS
from llamacpp.cli.common import StatusLine, need_tokenizer, number, read_bytes
from llamacpp.errors import LlamaError
from llamacpp.measure.perplexity import N_CTX, Perplexity, measure_perplexity
from llamacpp.measure.report import markdown_table
from llamacpp.quantize import MIXES, quantize_model

__all__ = ["Row", "main", "measure"]


@dataclass(frozen=True)
class Row:
    """A mix, and what was found of it.

    Attributes:
        mix: its name.
        bits_per_weight: of all tensors together.
        found: perplexity, and divergence from the model that was quantised.
    """

    mix: str
    bits_per_weight: float
    found: Perplexity


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 0, 2 if it cannot be had, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-m", "--model", type=Path, required=True, metavar="FILE",
        help="GGUF file of F32, F16 or BF16 weights",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--file", required=True, metavar="FILE", help="the text; - for standard input"
    )
    parser.add_argument(
        "-c", "--ctx", type=number(4), metavar="N",
        help=f"tokens of a window (default: {N_CTX}, or what the model has)",
    )  # fmt: skip
    parser.add_argument(
        "-t", "--threads", type=number(1, MAX_THREADS), metavar="N",
        help="default: the cores allowed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    args = parser.parse_args(argv)
    status = StatusLine()
    try:
        text = read_bytes(args.file)
        rows = measure(args.model, text, args.ctx, args.threads, status)
    except (LlamaError, OSError) as error:
        status.clear()
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        status.clear()
    print(json.dumps([asdict(row) for row in rows], indent=1) if args.json else _table(rows))
    return 0


def measure(
    path: Path, text: bytes, n_ctx: int | None, n_threads: int | None, status: StatusLine
) -> list[Row]:
    """Quantise and compare, mix by mix: from most bits to fewest.

    Args:
        path: of the model to quantise.
        text: to score.
        n_ctx: tokens of a window; None for 512, or what the model has.
        n_threads: None for the cores allowed.
        status: told of what is being done.

    Raises:
        LlamaError: as `quantize_model` and `measure_perplexity`.
    """
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Model.open(path, n_threads=n_threads) as base,
    ):
        tokens = need_tokenizer(base).encode(text)
        n_ctx = min(N_CTX, base.config.n_ctx_train) if n_ctx is None else n_ctx
        for i, mix in enumerate(MIXES):

            def show(what: str, head: str = f"{mix} ({i + 1} of {len(MIXES)}): ") -> None:
                status.show(head + what)

            show("quantising")
            target = Path(folder) / "model.gguf"
            plan = quantize_model(path, target, mix, n_threads=n_threads, overwrite=True)
            with Model.open(target, n_threads=n_threads) as model:
                found = measure_perplexity(
                    model, tokens, n_ctx=n_ctx, base=base,
                    progress=lambda done, total, _: show(f"window {done} of {total}"),
                )  # fmt: skip
            rows.append(Row(mix, plan.bits_per_weight, found))
    return sorted(rows, key=lambda row: -row.bits_per_weight)


def _table(rows: list[Row]) -> str:
    header = ["weights", "bits a weight", "perplexity", "KL, nats", "99 % of KL", "same top"]
    cells = []
    for row in rows:
        found, d = row.found, row.found.divergence
        assert d is not None
        cells.append([
            row.mix, f"{row.bits_per_weight:.2f}", f"{found.ppl:.3f} ± {found.ppl_error:.3f}",
            f"{d.kl:.5f} ± {d.kl_error:.5f}", f"{d.kl_99:.4f}", f"{d.same_top:.1%}",
        ])  # fmt: skip
    found, d = rows[0].found, rows[0].found.divergence
    assert d is not None
    return "\n".join([
        f"perplexity of the model itself: {d.base_ppl:.3f}; {found.n_scored:,} tokens scored,"
        f" in {found.n_windows} windows of {found.n_ctx}",
        "",
        markdown_table(header, cells, 1),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
