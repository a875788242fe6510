"""The `granite` architecture: IBM's Granite 3 and 4, dense.

Granite Team 2024, "Granite 3.0 Language Models": LLaMA's layers, with scales, as in maximal update
parametrisation (Yang et al. 2022), of embeddings, of attention, of what parts add to the residual
stream, and of logits, which are divided by theirs.
"""

from __future__ import annotations

from llamacpp.models.config import Config
from llamacpp.models.llama import Llama
from llamacpp.models.weights import Weights

__all__ = ["Granite"]


class Granite(Llama):
    """LLaMA's layers; attention and residuals are scaled as the hyperparameters say."""

    def __init__(self, config: Config, weights: Weights, n_vocab: int) -> None:
        super().__init__(
            config,
            weights,
            n_vocab,
            embedding_scale=config.embedding_scale,
            logit_scale=1.0 / config.logit_scale,
        )
