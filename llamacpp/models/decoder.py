"""A decoder-only transformer, but for what its layers are: embedding, layers, norm, output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from llamacpp import ops
from llamacpp.errors import UnsupportedError
from llamacpp.models.config import Config
from llamacpp.models.layers import Batch, Embedding, Part, Workspace
from llamacpp.models.rope import load_rope
from llamacpp.models.weights import LayerWeights, Weights
from llamacpp.residency import Window
from llamacpp.tensors import Tensor

__all__ = ["Decoder"]


class Decoder(ABC):
    """Weights and forward pass. Shapes are (rows, columns); T tokens, R rows of logits.

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

    rope_kind = ops.ROPE_HALF
    norm_kind = ops.NORM_RMS
    may_mix_experts = False

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
        c = self.config = config
        if c.n_expert and not self.may_mix_experts:
            raise UnsupportedError(f"{c.architecture} with a mixture of experts is not supported")
        self.n_vocab = n_vocab
        self.logit_scale, self.logit_softcap = logit_scale, logit_softcap
        embedding = weights.get("token_embd.weight", c.n_embd, n_vocab)  # (n_vocab, n_embd)
        self.embedding = Embedding(embedding, scale=embedding_scale, positions=positions)
        self.rope = load_rope(c, weights, self.rope_kind)
        self.layers = [
            self.layer(LayerWeights(weights, i, c.norm_eps, self.norm_kind), i)
            for i in range(c.n_layer)
        ]
        output = weights.find("output.weight", c.n_embd, n_vocab) or embedding  # tied if absent
        norm = weights.norm("output_norm", c.n_embd, c.norm_eps, self.norm_kind)
        self.output = ops.Linear([output], norm=norm)
        self.weights: dict[str, Tensor] = weights.used
        self.window: Window | None = None

    @abstractmethod
    def layer(self, w: LayerWeights, number: int) -> tuple[Part, ...]:
        """The parts of a layer, each of which adds to the residual stream, in their order."""

    def products(self) -> Iterator[ops.Product]:
        """Every op that multiplies with weights, in order."""
        for layer in self.layers:
            for part in layer:
                yield from part.products()
        yield self.output

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """The layers on the memory of one session."""
        for layer, caches in zip(self.layers, space.cache.layers, strict=True):
            block = ops.Block()
            for part in layer:
                part.add_to(block, space, caches)
            yield block

    def forward(
        self,
        batch: Batch,
        space: Workspace,
        logits: Any,
        checkpoint: Callable[[], None],
    ) -> None:
        """Evaluate a batch; see `Network.forward`."""
        place = space.place(batch)
        self.embedding.look_up(batch, space)  # x (T, n_embd)
        space.turn(place)

        space.run_blocks(place, checkpoint)

        if logits is not None:
            # Only the rows asked for go through the output matrix, the largest of all.
            rows, n = space.rows(batch), len(batch.rows)  # (R, n_embd)
            ops.linear(self.output, rows, logits, n, space.work)
            if self.logit_scale != 1.0:
                ops.scale(logits, n * self.n_vocab, self.logit_scale)
            if self.logit_softcap:
                ops.softcap(logits, n * self.n_vocab, self.logit_softcap)
