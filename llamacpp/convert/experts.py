"""Experts: what Hugging Face keeps apart, or as pairs, becomes one tensor of a layer in GGUF.

Checkpoints have a matrix for each expert, or all of a layer as one: gate and up below each other,
as transformers 5 has them in memory. Those of gpt-oss have columns where others have rows, gate and
up in turns, and where they are MXFP4 (Rouhani et al. 2023, "Microscaling Data Formats for Deep
Learning"), blocks of codes and their scales apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llamacpp.convert.checkpoint import Checkpoint, pieces
from llamacpp.convert.metadata import Architecture
from llamacpp.errors import FormatError

__all__ = ["ExpertsWeight", "experts_of", "is_of_experts"]

_SOURCE = re.compile(
    r"(?:.+\.)?layers\.(\d+)\.(?:mlp|block_sparse_moe)\.experts\."
    r"(?:(\d+)\.(w[123]|(?:gate|up|down)_proj)\.weight"
    r"|(gate_up_proj|down_proj)(?:_bias|_blocks|_scales)?)"
)
_PARTS = {
    "w1": "gate", "w2": "down", "w3": "up",
    "gate_proj": "gate", "down_proj": "down", "up_proj": "up",
}  # fmt: skip
_CODES = 32  # in a block of MXFP4


class ExpertsWeight(NamedTuple):
    """A tensor of all experts of a layer, and where it comes from.

    Attributes:
        name: in GGUF.
        sources: names in the checkpoint: of each expert's matrix, or of one tensor of all.
        shape: (experts, rows, columns), or of biases (experts, rows).
        is_whole: whether the source is one tensor of all experts.
        taken: which of the rows of that.
        transposed: its matrices are (columns, rows).
        scales: the name of the scales of MXFP4, of whose blocks it has the codes.
    """

    name: str
    sources: list[str]
    shape: tuple[int, ...]
    is_whole: bool = False
    taken: slice = slice(None)
    transposed: bool = False
    scales: str | None = None

    @property
    def source(self) -> str:
        """One of them, for messages."""
        return self.sources[0]

    def rows(self, checkpoint: Checkpoint) -> Iterator[npt.NDArray[Any]]:
        """The values of one expert after the other; of MXFP4 the bytes (rows, blocks, 17)."""
        if not self.is_whole:
            for source in self.sources:
                yield from pieces(checkpoint, source)
            return
        for expert in range(self.shape[0]):
            if self.scales is not None:
                names = (self.source, self.scales)
                codes, scales = (checkpoint.codes(n, expert, expert + 1)[0] for n in names)
                yield _mxfp4(codes[self.taken], scales[self.taken])
            else:
                found = checkpoint.rows(self.source, expert, expert + 1)[0]
                yield np.ascontiguousarray((found.T if self.transposed else found)[self.taken])


def is_of_experts(source: str, kind: Architecture) -> bool:
    """Whether a tensor of a checkpoint is one of experts, in an architecture that has them."""
    return bool(kind.expert_counts) and _SOURCE.fullmatch(source) is not None


def experts_of(
    checkpoint: Checkpoint, c: Mapping[str, Any], kind: Architecture
) -> Iterator[ExpertsWeight]:
    """All tensors of experts, of those in the checkpoint that `is_of_experts`.

    Raises:
        FormatError: an expert is missing, or shapes do not fit.
    """
    n_expert = next((c[key] for key in kind.expert_counts if c.get(key) is not None), 0)
    apart: dict[str, dict[int, str]] = {}
    for source in checkpoint.tensors:
        match = _SOURCE.fullmatch(source)
        if match is None or not kind.expert_counts:
            continue
        layer, number, part, fused = match.groups()
        if fused:
            yield from _of_all(checkpoint, source, f"blk.{layer}.ffn", kind, n_expert)
        else:
            experts = apart.setdefault(f"blk.{layer}.ffn_{_PARTS[part]}_exps.weight", {})
            if int(number) in experts:
                raise FormatError(f"tensors {experts[int(number)]!r} and {source!r} are the same")
            experts[int(number)] = source
    for name, experts in apart.items():
        sources = [experts[number] for number in sorted(experts)]
        shapes = {checkpoint.tensors[source].shape for source in sources}
        if sorted(experts) != list(range(n_expert)) or len(shapes) != 1:
            raise FormatError(
                f"{name!r} should have {n_expert} experts of one shape, and has those of"
                f" {sources[0]!r} to {sources[-1]!r}, {len(experts)}: is a file missing?"
            )
        yield ExpertsWeight(name, sources, (n_expert, *shapes.pop()))


def _of_all(
    checkpoint: Checkpoint, source: str, prefix: str, kind: Architecture, n_expected: int
) -> Iterator[ExpertsWeight]:
    """The tensors that one of all experts becomes: gate and up, or down; of scales none."""
    if source.endswith("_scales"):
        if f"{source.removesuffix('_scales')}_blocks" not in checkpoint.tensors:
            raise FormatError(f"tensor {source!r} has no blocks that it could scale")
        return
    theirs = kind.name == "gpt-oss"
    is_bias, is_mxfp4 = source.endswith("_bias"), source.endswith("_blocks")
    scales = f"{source.removesuffix('_blocks')}_scales" if is_mxfp4 else None
    shape = checkpoint.tensors[source].shape
    if len(shape) != (2 if is_bias else 4 if is_mxfp4 else 3):
        raise FormatError(f"tensor {source!r} has the shape {list(shape)}")
    if scales is not None:
        stored = checkpoint.tensors.get(scales)
        if stored is None or stored.shape != shape[:3] or shape[3] != _CODES // 2:
            raise FormatError(f"tensor {source!r} has no scales, {scales!r}, that fit")
        shape = (*shape[:2], shape[2] * _CODES)
    transposed = theirs and not (is_bias or is_mxfp4)
    n_expert, n_rows, *columns = (shape[0], shape[2], shape[1]) if transposed else shape
    if n_expert != n_expected:
        raise FormatError(f"tensor {source!r} has {n_expert} experts instead of {n_expected}")
    parts = {"down": slice(None)}
    if "gate_up_proj" in source:
        if n_rows % 2:
            raise FormatError(f"tensor {source!r}: {n_rows} rows are not those of gate and up")
        n_rows //= 2
        parts = {"gate": slice(None, n_rows), "up": slice(n_rows, None)}
        if theirs:
            parts = {"gate": slice(0, None, 2), "up": slice(1, None, 2)}
    for part, taken in parts.items():
        yield ExpertsWeight(
            name=f"{prefix}_{part}_exps.{'bias' if is_bias else 'weight'}",
            sources=[source],
            shape=(n_expert, n_rows, *columns),
            is_whole=True,
            taken=taken,
            transposed=transposed,
            scales=scales,
        )


def _mxfp4(codes: npt.NDArray[np.uint8], scales: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """GGUF's blocks (rows, blocks, 17) of codes (rows, blocks, 16) and scales (rows, blocks).

    Of the two codes of a byte, the lower half is the first: here they are neighbours, there they
    are 16 apart. A block begins with its scale, the exponent of a power of 2.
    """
    single = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], _CODES)
    halves = single[..., : _CODES // 2] | single[..., _CODES // 2 :] << 4
    return np.concatenate([scales[..., None], halves], axis=-1)
