"""What a token costs: bytes that are read and operations that are done, counted from the model."""

from __future__ import annotations

from llamacpp.engine import Model
from llamacpp.engine.context import Context
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import mixtures
from llamacpp.tensors import Tensor

__all__ = [
    "kv_bytes",
    "operations_per_token",
    "token_weights",
    "weight_bytes_per_token",
]

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"  # GGUF's names in all architectures
POSITIONS = "position_embd.weight"


def token_weights(model: Model) -> list[Tensor]:
    """What a token reads: all tensors, but embeddings that are no output.

    Of a mixture of experts the first so many as a token is given to: any would do to count them.
    """
    shares = {tensor.name: e.n_used for e in mixtures(model.network) for tensor in e.chosen}
    rows = _looked_up(model)
    return [
        tensor.part(0, shares[name]) if name in shares else tensor
        for name, tensor in model.weights.items()
        if name not in rows
    ]


def _looked_up(model: Model) -> list[str]:
    """The tensors of which a token reads a row."""
    names = [POSITIONS] if POSITIONS in model.weights else []
    return [EMBEDDING, *names] if OUTPUT in model.weights else names


def weight_bytes_per_token(model: Model) -> int:
    """Bytes of weights that a token reads; of embeddings that are no output, its rows.

    Tokens that are evaluated together share this reading, but for the row.
    """
    whole = sum(tensor.nbytes for tensor in token_weights(model))
    return whole + sum(model.weights[name].row_nbytes for name in _looked_up(model))


def operations_per_token(model: Model, rows: float = 1.0) -> float:
    """Operations of a token's products with weights: two for each, to multiply and to add.

    Attention is not counted, nor is what takes a time of the order of the vectors' length.

    Args:
        model: the model.
        rows: rows of logits per token: 1 for decoding, 1 / n for a prompt of n of which the last
            row alone is asked for.
    """
    total = 0.0
    for product in model.network.products():
        is_output = product is model.network.output
        total += 2.0 * product.weights_per_token * (rows if is_output else 1.0)
    return total


def kv_bytes(held: Context | KVCache, depth: int) -> int:
    """Bytes of keys and values that a token reads behind `depth` positions of its sequence.

    All layers count as if they saw all of them: those with a window read less.

    Args:
        held: a session, or a cache; what it holds, or can hold, does not matter.
        depth: positions before the token.
    """
    cache = held.cache if isinstance(held, Context) else held
    return cache.used_bytes(depth)
