"""`python -m tools.bundled_model.finish`: a checkpoint to a GGUF file that has been checked.

The file is read back with the `gguf` package and run in float32: its held-out loss stands
beside the checkpoint's own, and texts are drawn from the file's weights.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import torch

from .corpus import Corpus, build
from .export import export, read_back
from .network import Shape
from .samples import samples
from .train import held_out_loss, load

MAX_BYTES = 6_000_000
SAMPLE_SEED = 7


def finish(corpus: Corpus, out: Path, target: Path, documents: int = 400) -> None:
    """Export `out / "model.pt"` to `target`; print and keep a report in `out / "report.json"`."""
    model, facts = load(out / "model.pt")
    export(model, out / "vocabulary.model", target)
    if target.stat().st_size >= MAX_BYTES:
        raise SystemExit(f"{target} has {target.stat().st_size} bytes; the limit is {MAX_BYTES}")
    quantised = read_back(target, model.shape)
    losses = {
        "float": held_out_loss(model, corpus.held_out, documents),
        "file": held_out_loss(quantised, corpus.held_out, documents),
    }
    report = {
        **facts,
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": target.stat().st_size,
        "training_documents": len(corpus.train),
        "training_tokens": len(corpus.train.tokens),
        "held_out_documents": min(documents, len(corpus.held_out)),
        "held_out_loss": losses,
        "held_out_perplexity": {name: math.exp(loss) for name, loss in losses.items()},
        "samples": samples(quantised, corpus.encoder, SAMPLE_SEED),
    }
    text = json.dumps(report, indent=1)
    (out / "report.json").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bundled_model"))
    parser.add_argument("--to", type=Path, default=Path("llamacpp/data/stories.gguf"))
    parser.add_argument("--documents", type=int, default=400, help="held-out documents to measure")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape()
    finish(build(args.out, 0, 0, shape.n_vocab, shape.n_ctx), args.out, args.to, args.documents)


if __name__ == "__main__":
    main()
