"""Time of one sampling step at a vocabulary of 151,936 tokens. Units: see bench/README.md."""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from llamacpp import SamplingParams
from llamacpp.sampling import Sampler

N_VOCAB = 151_936
N_PAST = 2_000  # tokens that penalties look back on
CASES = {
    "default": SamplingParams(seed=1),
    "greedy": SamplingParams(temperature=0.0),
    "penalties, DRY, XTC": SamplingParams(
        repeat_penalty=1.1, frequency_penalty=0.1, presence_penalty=0.1, dry_multiplier=0.8,
        dry_sequence_breakers=(), xtc_probability=0.5, seed=1,
    ),
    "top-p alone": SamplingParams(temperature=1.0, top_k=0, top_p=0.9, min_p=0.0, seed=1),
    "mirostat 2": SamplingParams(mirostat_mode=2, seed=1),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sampling", description=__doc__)
    parser.add_argument("-r", "--rounds", type=int, default=50, metavar="N", help="default: 50")
    args = parser.parse_args()
    logits = np.random.default_rng(0).normal(0, 3, N_VOCAB).astype(np.float32)
    for name, params in CASES.items():
        sampler = Sampler(params, N_VOCAB, prompt=list(range(N_PAST)))
        took = []
        for _ in range(args.rounds):
            start = time.perf_counter()
            sampler(logits)
            took.append((time.perf_counter() - start) * 1e3)
        print(f"{name:24}{statistics.median(took):10.3f} ms")


if __name__ == "__main__":
    main()
