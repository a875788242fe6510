"""Ways to evaluate the same tokens, which must all give the same logits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from llamacpp.engine import Model


def ways(
    model: Model, cache: str, tokens: list[int], n_ctx: int | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Logits of all tokens: as a prompt, decoded, in pieces, and batched with others."""
    n = len(tokens)
    options = {"cache_type": cache, "n_ctx": n_ctx}
    yield "prompt", model.session(**options).eval(tokens, "all")
    session = model.session(**options)
    yield "decoded", np.concatenate([session.eval([token]) for token in tokens])
    session = model.session(**options, n_batch=16)
    cuts = [0, 3, 4, n // 2, n]
    yield "pieces", np.concatenate([session.eval(tokens[a:b], "all") for a, b in pairwise(cuts)])
    # three sequences, interleaved: the tokens themselves, their reverse, and a shorter one
    session = model.session(**options, n_seq=3)
    others = [tokens, tokens[::-1], tokens[: n // 3]]
    flat = [(t[i], i, s) for i in range(n) for s, t in enumerate(others) if i < len(t)]
    rows = [i for i, (_, _, s) in enumerate(flat) if s == 0]
    yield "batched", session.forward(*zip(*flat, strict=True), rows)
