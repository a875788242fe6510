"""`python -m tools.bundled_model`: corpus, vocabulary, training, evaluation, GGUF file."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.multiprocessing import spawn

from .corpus import build
from .finish import finish
from .network import Llama, Shape
from .train import Phase, load, phases, train


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.bundled_model", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bundled_model"))
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=45.0, help="training's wall time")
    parser.add_argument("--steps", type=int, help="training steps, instead of minutes")
    parser.add_argument("--batch", type=int, default=3600, help="tokens per step")
    parser.add_argument("--workers", type=int, default=2, help="processes that share a step")
    parser.add_argument("--to", type=Path, default=Path("llamacpp/data/stories.gguf"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    shape = Shape()
    corpus = build(args.out, args.documents, args.held_out, shape.n_vocab, shape.n_ctx)

    def run(phase: Phase, model: Llama) -> Llama:
        (args.out / "workers").unlink(missing_ok=True)
        arguments = (args.workers, corpus.train, model, args.out, phase, args.batch)
        spawn(train, arguments, args.workers)
        return load(args.out / "model.pt")[0]

    torch.manual_seed(0)
    first, second = phases(args.minutes, args.steps)
    model = run(first, Llama(shape))
    model.align_output()
    run(second, model)
    args.to.parent.mkdir(parents=True, exist_ok=True)
    finish(corpus, args.out, args.to)


if __name__ == "__main__":
    main()
