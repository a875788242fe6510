"""A transformer that reads a text as a whole: embedding, norm, layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llamacpp import ops
from llamacpp._native import ffi
from llamacpp.errors import UnsupportedError
from llamacpp.models.config import Config
from llamacpp.models.layers import Batch, Embedding, Workspace
from llamacpp.models.transformer import Transformer
from llamacpp.models.weights import Weights
from llamacpp.tensors import Tensor

__all__ = ["Encoder"]


class Encoder(Transformer):
    """Layers that see all of a text, each with its norms behind its parts (post-LN).

    An architecture is a subclass that says what a layer is made of.

    Args:
        config: hyperparameters.
        weights: the tensors of the file.
        n_vocab: rows of the embedding.
        positions: (n_embd, n) learned embeddings of n positions, added to those of the tokens.
    """

    norm_kind = ops.NORM_LAYER

    def __init__(
        self, config: Config, weights: Weights, n_vocab: int, *, positions: Tensor | None = None
    ) -> None:
        c = config
        if c.causal:
            raise UnsupportedError(f"{c.architecture} with causal attention is not supported")
        embedding = Embedding(
            weights.get("token_embd.weight", c.n_embd, n_vocab),  # (n_vocab, n_embd)
            positions=positions,
            types=weights.find_rows("token_types.weight", c.n_embd),
            norm=weights.norm("token_embd_norm", c.n_embd, c.norm_eps, self.norm_kind),
        )
        super().__init__(c, weights, embedding)

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """Refuse: there are no logits; see `Network.forward`."""
        raise UnsupportedError(f"{self.config.architecture} is an encoder, which has no logits")

    def hidden(
        self, batch: Batch, space: Workspace, out: Any, checkpoint: Callable[[], None]
    ) -> None:
        """Evaluate a batch; see `Network.hidden`."""
        self.run(batch, space, checkpoint)
        ffi.memmove(out, space.rows(batch), 4 * len(batch.rows) * self.config.n_embd)
