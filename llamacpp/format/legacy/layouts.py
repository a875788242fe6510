"""How the blocks of each version were laid out.

Elements and bytes of a block, and what it holds (h: float16, f: float32):

            ggml, ggmf, ggjt v1          ggjt v2                 ggjt v3, and GGUF
    Q4_0    32 in 20: f d, nibbles       20: as v1               18: h d, nibbles
    Q4_1    32 in 24: f d, f m, nibbles  24: as v1               20: h d, h m, nibbles
    Q4_2    16 in 10: h d, nibbles       -                       -
    Q4_3    16 in 12: h d, h m, nibbles  -                       -
    Q5_0    32 in 22: h d, bits, nibbles 22                      22
    Q5_1    32 in 24: h d, h m, the same 24                      24
    Q8_0    32 in 36: f d, bytes         36                      34: h d, bytes
    Q2_K to Q6_K: ggjt v3 alone

In the first column byte i of the nibbles holds the elements 2i (low) and 2i + 1 (high), in the
others i (low) and i + 16 (high). So equal sizes may differ in meaning: only the version tells.
"""

from __future__ import annotations

from dataclasses import dataclass

from llamacpp.format.types import BlockLayout, GGMLType

__all__ = ["OldType", "tensor_types"]


@dataclass(frozen=True)
class OldType:
    """A tensor type whose blocks are not laid out as today's.

    Attributes:
        name: what it was called; today's type of that name differs.
        block: elements and bytes of a block.
        target: today's type that its tensors are converted to.
        interleaved: whether a byte's two nibbles are neighbours.
    """

    name: str
    block: BlockLayout
    target: GGMLType
    interleaved: bool

    def row_nbytes(self, length: int) -> int:
        """Bytes of a row of `length` elements, which must be a multiple of the block length."""
        return length // self.block.length * self.block.nbytes


def _old(kind: GGMLType, nbytes: int, *, interleaved: bool) -> OldType:
    return OldType(kind.name, BlockLayout(32, nbytes), kind, interleaved)


_V1: dict[int, GGMLType | OldType] = {
    0: GGMLType.F32,
    1: GGMLType.F16,
    2: _old(GGMLType.Q4_0, 20, interleaved=True),
    3: _old(GGMLType.Q4_1, 24, interleaved=True),
    # Two of these share 32 elements, each with a scale of its own: no block of today holds that.
    4: OldType("Q4_2", BlockLayout(16, 10), GGMLType.F16, interleaved=True),
    5: OldType("Q4_3", BlockLayout(16, 12), GGMLType.F16, interleaved=True),
    6: _old(GGMLType.Q5_0, 22, interleaved=True),
    7: _old(GGMLType.Q5_1, 24, interleaved=True),
    8: _old(GGMLType.Q8_0, 36, interleaved=False),
}
_V2: dict[int, GGMLType | OldType] = {
    0: GGMLType.F32,
    1: GGMLType.F16,
    2: _old(GGMLType.Q4_0, 20, interleaved=False),
    3: _old(GGMLType.Q4_1, 24, interleaved=False),
    6: GGMLType.Q5_0,
    7: GGMLType.Q5_1,
    8: _old(GGMLType.Q8_0, 36, interleaved=False),
}
_V3: dict[int, GGMLType | OldType] = {
    int(kind): kind
    for kind in GGMLType
    if kind <= GGMLType.Q6_K and kind is not GGMLType.Q8_1  # which was never stored
}


def tensor_types(family: str, version: int) -> dict[int, GGMLType | OldType]:
    """Tensor types by their number in a file of this family and version."""
    return {2: _V2, 3: _V3}.get(version, _V1) if family == "ggjt" else _V1
