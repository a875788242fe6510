"""What decoders and encoders share: an embedding, layers of parts, and how a batch runs through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from llamacpp import ops
from llamacpp.models.config import Config
from llamacpp.models.layers import Batch, Embedding, Part, Workspace
from llamacpp.models.rope import load_rope
from llamacpp.models.weights import LayerWeights, Weights
from llamacpp.residency import Window
from llamacpp.tensors import Tensor

__all__ = ["Transformer"]


class Transformer(ABC):
    """Weights, and layers that run on them. Shapes are (rows, columns); T tokens, R rows asked for.

    Args:
        config: hyperparameters.
        weights: the tensors of the file.
        embedding: how tokens become the first residual stream.
    """

    rope_kind = ops.ROPE_HALF
    norm_kind = ops.NORM_RMS
    output: ops.Linear | None = None

    def __init__(self, config: Config, weights: Weights, embedding: Embedding) -> None:
        c = self.config = config
        self.n_vocab = embedding.n_vocab
        self.embedding = embedding
        self.rope = load_rope(c, weights, self.rope_kind)
        self.layers = [
            self.layer(LayerWeights(weights, i, c.norm_eps, self.norm_kind), i)
            for i in range(c.n_layer)
        ]
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
        if self.output is not None:
            yield self.output

    def blocks(self, space: Workspace) -> Iterator[ops.Block]:
        """The layers on the memory of one session."""
        # A cache of one layer serves them all in turn, where nothing has to last.
        for layer, caches in zip(self.layers, cycle(space.cache.layers), strict=False):
            block = ops.Block()
            for part in layer:
                part.add_to(block, space, caches)
            yield block

    def run(self, batch: Batch, space: Workspace, checkpoint: Callable[[], None]) -> None:
        """Leave the residual stream behind the last layer in space.x (T, n_embd)."""
        place = space.place(batch)
        self.embedding.look_up(batch, space)  # x (T, n_embd)
        space.turn(place)
        space.run_blocks(place, checkpoint)

    @abstractmethod
    def hidden(
        self, batch: Batch, space: Workspace, out: Any, checkpoint: Callable[[], None]
    ) -> None:
        """Evaluate a batch; see `Network.hidden`."""
