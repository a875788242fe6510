"""Which tensor of a model gets which type, under the name of a mix such as Q4_K_M.

The rules are those by which llama.cpp's `llama-quantize` makes files of these names, so that a name
means the same everywhere: most matrices have the type of the mix, those that hurt most have more
bits. A test compares them with llama.cpp's own, tensor by tensor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from llamacpp.format import GGMLType, Metadata
from llamacpp.format.gguf import TensorInfo
from llamacpp.format.types import FILE_TYPES

__all__ = ["FILE_TYPE_NUMBERS", "MIXES", "SMALLEST", "Chooser", "is_quantizable"]

T = GGMLType
MIXES: dict[str, GGMLType] = {
    "F32": T.F32, "F16": T.F16, "BF16": T.BF16,
    "Q4_0": T.Q4_0, "Q4_1": T.Q4_1, "Q5_0": T.Q5_0, "Q5_1": T.Q5_1, "Q8_0": T.Q8_0,
    "Q2_K": T.Q2_K, "Q3_K_S": T.Q3_K, "Q3_K_M": T.Q3_K, "Q3_K_L": T.Q3_K,
    "Q4_K_S": T.Q4_K, "Q4_K_M": T.Q4_K, "Q5_K_S": T.Q5_K, "Q5_K_M": T.Q5_K, "Q6_K": T.Q6_K,
    "IQ4_NL": T.IQ4_NL, "IQ4_XS": T.IQ4_XS,
    "IQ3_M": T.IQ3_S, "IQ3_S": T.IQ3_S, "IQ3_XS": T.IQ3_S, "IQ3_XXS": T.IQ3_XXS,
    "IQ2_M": T.IQ2_S, "IQ2_S": T.IQ2_XS, "IQ2_XS": T.IQ2_XS, "IQ2_XXS": T.IQ2_XXS,
    "IQ1_M": T.IQ1_M, "IQ1_S": T.IQ1_S,
    "MXFP4_MOE": T.MXFP4, "TQ1_0": T.TQ1_0, "TQ2_0": T.TQ2_0,
}  # fmt: skip
"""The mixes by name, each with the type of most of its matrices."""

FILE_TYPE_NUMBERS = {name: number for number, name in FILE_TYPES.items()}
"""`general.file_type` of a mix."""

FLOATS = (T.F32, T.F16, T.BF16)
SMALLEST = ("IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S")
"""Mixes of two bits and less, which need an importance matrix to be of use."""
# Where rows are no multiple of a type's block: the type of 32-wide blocks of as many bits.
_FALLBACK = {
    T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0,
    T.IQ4_XS: T.IQ4_NL, T.TQ1_0: T.Q4_0, T.TQ2_0: T.Q4_0, T.IQ3_S: T.IQ4_NL,
    T.IQ3_XXS: T.IQ4_NL, T.IQ2_S: T.IQ4_NL, T.IQ2_XS: T.IQ4_NL, T.IQ2_XXS: T.IQ4_NL,
    T.IQ1_M: T.IQ4_NL, T.IQ1_S: T.IQ4_NL,
}  # fmt: skip
# Matrices that are small, and matter: norms, routers, convolutions, positions, decays.
_KEPT = re.compile(
    r"_norm\.weight$|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|ssm_conv1d"
    r"|shortconv\.conv\.weight|time_mix_(first|w0|w1|w2|v0|v1|v2|a0|a1|a2|g1|g2|decay_w1|decay_w2"
    r"|lerp_fused)|attn_rel_b\.weight|^position_embd\.weight|^token_types\.weight|\.position_embd\."
)
_LAYER = re.compile(r"blk\.(\d+)\.")


def is_quantizable(info: TensorInfo) -> bool:
    """Whether a tensor is one of the large matrices, whose type a mix chooses."""
    n_dims = max((i + 1 for i, extent in enumerate(info.shape) if extent > 1), default=1)
    return info.name.endswith("weight") and n_dims >= 2 and not _KEPT.search(info.name)


@dataclass(frozen=True)
class _Place:
    """Where a matrix is: number `i` of those of its kind in `n` layers."""

    i: int
    n: int

    @property
    def is_early(self) -> bool:
        return self.i < self.n // 8

    @property
    def is_late(self) -> bool:
        return self.i >= 7 * self.n // 8

    @property
    def has_more_bits(self) -> bool:
        """In half of the layers: the first and the last eighth, and every third between."""
        return self.is_early or self.is_late or (self.i - self.n // 8) % 3 == 2


class Chooser:
    """Chooses types for the matrices of one model.

    Args:
        metadata: of the model.
        names: of all its tensors.
        mix: a name of MIXES.
        has_importance: whether columns will be weighted.
        output_type: of the output matrix, whatever the mix says.
    """

    def __init__(
        self,
        metadata: Metadata,
        names: Iterable[str],
        mix: str,
        *,
        has_importance: bool = False,
        output_type: GGMLType | None = None,
    ) -> None:
        self.mix, self.has_importance, self.output_type = mix, has_importance, output_type
        names = set(names)
        self.architecture = metadata.string("general.architecture", "")
        key = f"{self.architecture}."
        self.n_layer = metadata.integer(key + "block_count", 0)
        self.n_expert = metadata.integer(key + "expert_count", 0)
        n_head = _first(metadata, key + "attention.head_count", 1)
        n_kv = _first(metadata, key + "attention.head_count_kv", n_head)
        self.n_gqa = n_head // n_kv if n_kv else 0
        self.is_70b = (
            self.n_layer == 80 and self.architecture in ("llama", "qwen2") and n_head != n_kv
        )
        self.output = "output.weight" if "output.weight" in names else "token_embd.weight"
        self._values = _ranks(names, ".attn_v.weight")
        self._n_values = sum(
            name.endswith((".attn_v.weight", ".attn_qkv.weight", ".attn_kv_b.weight"))
            for name in names
        )
        self._downs = _ranks(names, ".ffn_down.weight")

    def choose(self, info: TensorInfo) -> GGMLType:
        """The type of a matrix, one that its rows are whole blocks of."""
        wanted = MIXES[self.mix]
        name, columns = info.name, info.shape[0]
        if name == self.output and self.output_type is not None:
            wanted = self.output_type
        elif wanted in FLOATS:
            return wanted
        elif self.mix == "MXFP4_MOE":
            wanted = T.MXFP4 if len(info.shape) > 2 and info.shape[2] > 1 else T.Q8_0
        elif name == self.output:
            wanted = self._of_output(wanted, columns)
        elif name == "token_embd.weight":
            wanted = self._of_embedding(wanted)
        elif self.mix in SMALLEST:
            wanted = self._of_small_layer(name, wanted)
        else:
            wanted = self._of_layer(name, wanted)
        if columns % wanted.block.length:
            wanted = _FALLBACK.get(wanted, wanted)
        return T.F16 if columns % wanted.block.length else wanted

    def _of_output(self, wanted: GGMLType, columns: int) -> GGMLType:
        if self.architecture == "falcon" or columns % wanted.block.length:
            return T.Q8_0
        if self.mix in SMALLEST or self.mix == "IQ3_XXS":
            return T.Q5_K
        return wanted if wanted == T.Q8_0 else T.Q6_K

    def _of_embedding(self, wanted: GGMLType) -> GGMLType:
        if self.mix in ("IQ2_M", "IQ2_S", "IQ3_XXS"):
            return T.IQ3_S
        if self.mix in SMALLEST:
            return T.Q2_K
        return T.Q4_K if wanted in (T.TQ1_0, T.TQ2_0) else wanted

    def _of_small_layer(self, name: str, wanted: GGMLType) -> GGMLType:
        """In mixes of two bits and less."""
        better = T.IQ3_S if self.mix in ("IQ2_M", "IQ2_S") else T.Q2_K
        if "attn_v.weight" in name:
            return T.Q4_K if self.n_gqa >= 4 or self.n_expert >= 4 else better
        if "attn_k.weight" in name and self.n_expert == 8:
            return T.Q4_K
        if "ffn_down" in name:
            return better if self._down_place(name).is_early else wanted
        if "attn_output.weight" in name:
            if self.n_expert == 8:
                return T.Q5_K
            low = T.IQ2_XXS if self.mix in ("IQ1_M", "IQ1_S") else wanted
            return T.IQ3_S if better == T.IQ3_S else low
        return wanted

    def _of_layer(self, name: str, wanted: GGMLType) -> GGMLType:
        if "attn_v.weight" in name:
            return self._of_values(wanted, _Place(self._values.get(name, 0), self._n_values))
        if "attn_k.weight" in name or "attn_q.weight" in name:
            if self.n_expert == 8 and "attn_k" in name:
                return T.Q8_0
            return {"IQ3_XS": T.IQ3_XXS, "IQ3_XXS": T.IQ2_S}.get(self.mix, wanted)
        if "ffn_down" in name:
            return self._of_down(wanted, self._down_place(name))
        if "attn_output.weight" in name:
            return self._of_attention_output(wanted)
        if "attn_qkv.weight" in name:
            more = {"Q3_K_M": T.Q4_K, "Q3_K_L": T.Q4_K, "Q4_K_M": T.Q5_K, "Q5_K_M": T.Q6_K}
            return (more | {"IQ3_M": T.Q4_K}).get(self.mix, wanted)
        if ("ffn_gate" in name or "ffn_up" in name) and self.mix == "IQ3_XS":
            place = self._layer_place(name)
            return wanted if place.is_early or place.is_late else T.IQ3_XXS
        return wanted

    def _layer_place(self, name: str) -> _Place:
        layer = _LAYER.match(name)
        return _Place(int(layer[1]) if layer else 0, self.n_layer)

    def _of_values(self, wanted: GGMLType, place: _Place) -> GGMLType:
        """The smallest matrices of attention, where heads share them, with the most effect."""
        if self.n_expert == 8:
            return T.Q8_0
        mix, shared = self.mix, self.n_gqa >= 4
        if mix == "Q2_K":
            wanted = T.Q4_K if shared else T.Q3_K
        elif mix == "IQ3_XXS":
            wanted = T.Q4_K if shared else wanted if self.has_importance else T.IQ3_S
        elif mix == "IQ3_M" or (mix in ("IQ3_XS", "IQ3_S") and shared):
            wanted = T.Q4_K
        elif mix == "Q3_K_M":
            wanted = T.Q5_K if place.i < 2 else T.Q4_K
        elif mix == "Q3_K_L" or (mix in ("IQ4_NL", "IQ4_XS") and shared):
            wanted = T.Q5_K
        elif mix in ("Q4_K_M", "Q5_K_M") and place.has_more_bits:
            wanted = T.Q6_K
        elif mix == "Q4_K_S" and place.i < 4:
            wanted = T.Q5_K
        return T.Q5_K if self.is_70b and wanted in (T.Q3_K, T.Q4_K) else wanted

    def _down_place(self, name: str) -> _Place:
        if self.n_expert > 1:
            return self._layer_place(name)
        return _Place(self._downs.get(name, 0), self.n_layer)

    def _of_down(self, wanted: GGMLType, place: _Place) -> GGMLType:
        mix, is_falcon = self.mix, self.architecture == "falcon"
        if mix == "Q2_K":
            return T.Q3_K
        if mix == "IQ3_XXS" and not self.has_importance:
            return T.Q4_K if place.is_early else T.Q3_K
        if mix == "IQ3_M" and (place.is_early or (self.n_expert == 8 and place.has_more_bits)):
            return T.Q4_K
        if mix == "Q3_K_M":
            if place.i < place.n // 16:
                return T.Q5_K
            return T.Q4_K if not is_falcon or place.has_more_bits else T.Q3_K
        if mix == "Q3_K_L":
            return T.Q4_K if is_falcon else T.Q5_K
        if mix == "Q4_K_M" and is_falcon:
            if place.i < place.n // 16:
                return T.Q6_K
            return T.Q5_K if place.has_more_bits else T.Q4_K
        if mix in ("Q4_K_M", "Q5_K_M") and place.has_more_bits:
            return T.Q6_K
        if place.is_early and not self.has_importance and mix in ("IQ4_NL", "IQ4_XS"):
            return T.Q5_K
        if place.is_early and mix == "Q4_K_S" and not is_falcon:
            return T.Q5_K
        if place.is_early and self.has_importance and mix in ("Q4_0", "Q5_0"):
            return T.Q4_1 if mix == "Q4_0" else T.Q5_1
        return wanted

    def _of_attention_output(self, wanted: GGMLType) -> GGMLType:
        if self.architecture == "falcon":
            return T.Q4_K if self.mix == "Q3_K_L" else wanted
        if self.n_expert == 8:
            small = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS")
            is_small = self.mix in small or self.mix.startswith("IQ3")
            return T.Q5_K if is_small else wanted
        more = {"Q2_K": T.Q3_K, "Q3_K_M": T.Q4_K, "Q3_K_L": T.Q5_K}
        return (more | {"IQ3_XXS": T.IQ3_S, "IQ3_M": T.Q4_K}).get(self.mix, wanted)


def _ranks(names: Iterable[str], suffix: str) -> dict[str, int]:
    """The matrices of this kind, numbered in the order of their layers."""
    found = [(int(layer[1]), name) for name in names
             if name.endswith(suffix) and (layer := _LAYER.match(name))]  # fmt: skip
    return {name: rank for rank, (_, name) in enumerate(sorted(found))}


def _first(metadata: Metadata, key: str, default: int) -> int:
    """A number, or the first of one for each layer."""
    value = metadata.get(key, default)
    if isinstance(value, int):
        return value
    return int(value[0]) if not isinstance(value, (str, bytes, float)) and len(value) else default
