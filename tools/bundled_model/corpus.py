"""The corpus of a run: training and held-out documents, encoded, with their vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .batching import Encoded, encode
from .chat import documents
from .vocabulary import Encoder, train_vocabulary

TRAIN_SEED, HELD_OUT_SEED = 1, 2
VOCABULARY_DOCUMENTS = 6000


@dataclass(frozen=True)
class Corpus:
    """Encoded documents and the encoder that made them."""

    encoder: Encoder
    train: Encoded
    held_out: Encoded


def build(out: Path, count: int, held_out: int, n_vocab: int, n_ctx: int) -> Corpus:
    """Generate, train the vocabulary and encode; the result is kept in `out` for later runs."""
    model, files = out / "vocabulary.model", (out / "train.npz", out / "held_out.npz")
    if not files[1].exists():
        training = documents(count, TRAIN_SEED)
        if not model.exists():
            texts = (text for turns in training[:VOCABULARY_DOCUMENTS] for _, text in turns)
            train_vocabulary(texts, model, n_vocab)
        held = documents(held_out, HELD_OUT_SEED, held_out=True)
        for file, turns in zip(files, (training, held), strict=True):
            data = encode(turns, Encoder(model), n_ctx)
            np.savez(file, tokens=data.tokens, targets=data.targets, starts=data.starts)
    return Corpus(Encoder(model), _load(files[0]), _load(files[1]))


def _load(path: Path) -> Encoded:
    with np.load(path) as arrays:
        return Encoded(arrays["tokens"], arrays["targets"], arrays["starts"])
