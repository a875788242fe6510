"""The tensors of LLaMA: their names then and now, their shapes, and how parts split them.

The rows of wq and wk pair neighbours for the rotation, as in GGUF: nothing is permuted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Weight", "all_names", "find_weight"]


class Weight(NamedTuple):
    """One tensor of a model or of a layer.

    Attributes:
        name: in GGUF.
        shape: its extents by name, fastest first.
        split: which of them the parts of a model share out; None: each part has all of it.
    """

    name: str
    shape: tuple[str, ...]
    split: int | None


_COLUMNS, _ROWS = 0, 1
_OF_MODEL = {
    "tok_embeddings": Weight("token_embd", ("n_embd", "n_vocab"), _COLUMNS),
    "norm": Weight("output_norm", ("n_embd",), None),
    "output": Weight("output", ("n_embd", "n_vocab"), _ROWS),
}
_OF_LAYER = {
    "attention_norm": Weight("attn_norm", ("n_embd",), None),
    "attention.wq": Weight("attn_q", ("n_embd", "n_embd"), _ROWS),
    "attention.wk": Weight("attn_k", ("n_embd", "n_kv"), _ROWS),
    "attention.wv": Weight("attn_v", ("n_embd", "n_kv"), _ROWS),
    "attention.wo": Weight("attn_output", ("n_embd", "n_embd"), _COLUMNS),
    "ffn_norm": Weight("ffn_norm", ("n_embd",), None),
    "feed_forward.w1": Weight("ffn_gate", ("n_embd", "n_ff"), _ROWS),
    "feed_forward.w2": Weight("ffn_down", ("n_ff", "n_embd"), _COLUMNS),
    "feed_forward.w3": Weight("ffn_up", ("n_embd", "n_ff"), _ROWS),
}
_NAME = re.compile(r"(?:layers\.(?P<layer>0|[1-9][0-9]{0,7})\.)?(?P<rest>[a-z0-9_.]+)\.weight")


def find_weight(old_name: str, n_layer: int) -> Weight | None:
    """The tensor of that name, named in full as in GGUF; None: the model has no such tensor."""
    match = _NAME.fullmatch(old_name)
    if match is None:
        return None
    layer, rest = match.groups()
    weight = (_OF_MODEL if layer is None else _OF_LAYER).get(rest)
    if weight is None or (layer is not None and int(layer) >= n_layer):
        return None
    prefix = "" if layer is None else f"blk.{layer}."
    return weight._replace(name=f"{prefix}{weight.name}.weight")


def all_names(n_layer: int) -> Iterator[str]:
    """The old names of all tensors of a model, in the order of the files."""
    yield from (f"{name}.weight" for name in _OF_MODEL)
    for layer in range(n_layer):
        yield from (f"layers.{layer}.{name}.weight" for name in _OF_LAYER)
