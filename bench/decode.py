"""Speed of prompt and decode, beside the speed at which the mapped weights can be read at all.

Without FILE: random Q4_0 weights in the shape of a 1.1B model. Units: see bench/README.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.random_model import write_random_model
from llamacpp import Model, Session

PROMPT_TOKENS = 512
DECODE_TOKENS = 64
PIECE = 4 << 20  # bytes that a thread of the reading probe takes at once

Bytes = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="GGUF file")
    parser.add_argument("-t", "--threads", type=int, metavar="N", help="default: as the library's")
    parser.add_argument("-r", "--rounds", type=int, default=3, metavar="N", help="default: 3")
    args = parser.parse_args()
    if args.file:
        measure(args.file, args.threads, args.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="llamacpp-bench-") as folder:
        path = Path(folder) / "random-1.1B-q4_0.gguf"
        write_random_model(path)
        measure(path, args.threads, args.rounds)


def measure(path: Path, n_threads: int | None, rounds: int) -> None:
    """Print the rates of one file; the three measurements take turns."""
    with Model.open(path, n_threads=n_threads) as model:
        n_prompt = min(PROMPT_TOKENS, model.config.n_ctx_train - DECODE_TOKENS)
        prompt = np.random.default_rng(0).integers(0, model.n_vocab, n_prompt)
        session = model.session(n_prompt + DECODE_TOKENS)
        weights = weights_of_a_token(model)
        touched = sum(piece.nbytes for piece in weights)
        print(f"{path.name}: {touched / 1e9:.4f} GB of weights a token, {model.n_threads} threads")
        read_all(weights, model.n_threads)  # into the page cache, before anything is timed
        reads, prefills, decodes = [], [], []
        for _ in range(rounds):
            reads.append(touched / seconds(lambda: read_all(weights, model.n_threads)) / 1e9)
            prefills.append(n_prompt / seconds(lambda: prefill(session, prompt)))
            decodes.append(DECODE_TOKENS / seconds(lambda: decode(session, prompt)))
    used = [rate * touched / 1e9 for rate in decodes]
    report("read of the weights", reads, "GB/s")
    report(f"pp{n_prompt}", prefills, "tok/s")
    report(f"tg{DECODE_TOKENS} after pp{n_prompt}", decodes, "tok/s")
    report("weights used by decode", used, "GB/s")
    share = statistics.median(u / r for u, r in zip(used, reads, strict=True))
    print(f"decode uses its weights at {share:.0%} of the speed of reading them")


def report(name: str, values: list[float], unit: str) -> None:
    """Print the median of all rounds, and their range."""
    spread = f"{min(values):.1f} to {max(values):.1f}"
    print(f"{name:24}{statistics.median(values):10.1f} {unit:6} ({spread})")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def prefill(session: Session, prompt: npt.NDArray[np.integer]) -> None:
    session.reset()
    session.eval(prompt)


def decode(session: Session, prompt: npt.NDArray[np.integer]) -> None:
    """Evaluate tokens one by one after the prompt, as generating does; nothing is sampled."""
    for token in prompt[:DECODE_TOKENS]:
        session.eval([int(token)])


def weights_of_a_token(model: Model) -> list[Bytes]:
    """What one token reads, in pieces: all weights but an embedding that is only looked up in."""
    tensors = dict(model.weights)
    if "output.weight" in tensors:
        del tensors["token_embd.weight"]
    return [
        np.frombuffer(tensor.data[start : start + PIECE], np.uint8)
        for tensor in tensors.values()
        for start in range(0, tensor.nbytes, PIECE)
    ]


def read_all(pieces: list[Bytes], n_threads: int) -> None:
    """Read every byte once. A maximum keeps up with memory on any one core we have met."""
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(np.max, pieces):
            pass


if __name__ == "__main__":
    main()
