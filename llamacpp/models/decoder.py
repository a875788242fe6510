"""A decoder-only transformer, but for what its layers are: embedding, layers, norm, output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llamacpp import ops
from llamacpp.errors import UnsupportedError
from llamacpp.models.config import Config
from llamacpp.models.layers import Batch, Embedding, Workspace
from llamacpp.models.transformer import Transformer
from llamacpp.models.weights import Weights
from llamacpp.tensors import Tensor

__all__ = ["Decoder"]


class Decoder(Transformer):
    """Layers that see what came before, and logits of what comes next. R rows of logits.

    An architecture is a subclass that says what a layer is made of.

    Args:
        config: hyperparameters.
        weights: the tensors of the file.
        n_vocab: rows of the embedding.
        embedding_scale: a factor of embeddings.
        positions: (n_embd, n) learned embeddings of n positions, added to those of the tokens.
        logit_scale: a factor of the logits.
        logit_softcap: each logit z is ``logit_softcap * tanh(z / logit_softcap)``; 0: z.
    """

    may_mix_experts = False
    output: ops.Linear

    def __init__(
        self,
        config: Config,
        weights: Weights,
        n_vocab: int,
        *,
        embedding_scale: float = 1.0,
        positions: Tensor | None = None,
        logit_scale: float = 1.0,
        logit_softcap: float = 0.0,
    ) -> None:
        c = config
        if c.n_expert and not self.may_mix_experts:
            raise UnsupportedError(f"{c.architecture} with a mixture of experts is not supported")
        if c.causal is False:
            raise UnsupportedError(f"{c.architecture} without causal attention is not supported")
        self.logit_scale, self.logit_softcap = logit_scale, logit_softcap
        embedding = weights.get("token_embd.weight", c.n_embd, n_vocab)  # (n_vocab, n_embd)
        super().__init__(
            c, weights, Embedding(embedding, scale=embedding_scale, positions=positions)
        )
        output = weights.find("output.weight", c.n_embd, n_vocab) or embedding  # tied if absent
        self.norm = weights.norm("output_norm", c.n_embd, c.norm_eps, self.norm_kind)
        self.output = ops.Linear([output], norm=self.norm)

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """Evaluate a batch; see `Network.forward`."""
        self.run(batch, space, checkpoint)
        if logits is not None:
            # Only the rows asked for go through the output matrix, the largest of all.
            rows, n = space.rows(batch), len(batch.rows)  # (R, n_embd)
            ops.linear(self.output, rows, logits, n, space.work)
            if self.logit_scale != 1.0:
                ops.scale(logits, n * self.n_vocab, self.logit_scale)
            if self.logit_softcap:
                ops.softcap(logits, n * self.n_vocab, self.logit_softcap)

    def hidden(
        self, batch: Batch, space: Workspace, out: Any, checkpoint: Callable[[], None]
    ) -> None:
        """Evaluate a batch; see `Network.hidden`."""
        self.run(batch, space, checkpoint)
        ops.normalise(self.norm, space.rows(batch), out, len(batch.rows), space.work)
