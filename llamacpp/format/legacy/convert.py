"""An old model, in one file or several, streamed into one GGUF file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator

import numpy as np

from llamacpp.errors import FormatError, InvalidArgumentError, ModelFileError
from llamacpp.format.encode import Value
from llamacpp.format.gguf import TensorInfo
from llamacpp.format.legacy.blocks import Bytes, rewrite
from llamacpp.format.legacy.header import LegacyHeader
from llamacpp.format.legacy.layouts import OldType
from llamacpp.format.mapping import MappedFile
from llamacpp.format.model_file import ModelFile
from llamacpp.format.types import GGMLType
from llamacpp.format.writer import GGUFWriter

__all__ = ["convert_legacy"]

PIECE_NBYTES = 4 << 20  # read at a time, unless a row is longer


def convert_legacy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    n_ctx: int | None = None,
    norm_eps: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the model of a `ggml`, `ggmf` or `ggjt` file as a GGUF file.

    The target appears under its name when it is complete; until then, and after any failure,
    the name is untouched.

    Args:
        source: the file; of a model in parts, any part.
        target: the GGUF file to write.
        overwrite: replace the target if it exists.
        n_ctx: positions the model was trained for, which old files do not tell.
        norm_eps: epsilon of its norms, which they do not tell either.
        progress: called with the bytes read and their total.

    Raises:
        InvalidArgumentError: the source is a GGUF file, or a number makes no sense.
        ModelFileError: a file cannot be read or written, or is damaged (FormatError).
        UnsupportedError: a version, type or tensor that is not known.
    """
    told = _told(n_ctx, norm_eps)
    with ModelFile(source) as file, GGUFWriter(target, overwrite=overwrite) as writer:
        if not isinstance(file.parts[0].header, LegacyHeader):
            raise InvalidArgumentError(f"{file.path}: is a GGUF file already")
        for key, value in {**file.metadata, **told}.items():
            writer.add(key, value)
        for info in file.tensors.values():
            writer.add_tensor(info.name, _target(info), info.shape)
        done, total = 0, sum(info.nbytes for info in file.tensors.values())

        def rewritten(info: TensorInfo) -> Iterator[memoryview]:
            nonlocal done
            for piece in _pieces(file, info):
                yield _rewrite(file, info, piece).data
                done += piece.nbytes
                progress(done, total)

        for info in file.tensors.values():
            writer.write_tensor(info.name, rewritten(info))
        file.check_unchanged()


def _told(n_ctx: int | None, norm_eps: float | None) -> dict[str, Value]:
    """What the caller knows better than the defaults."""
    told: dict[str, Value] = {}
    if n_ctx is not None:
        if not 1 <= n_ctx < 1 << 31:
            raise InvalidArgumentError(f"a context of {n_ctx} positions is not possible")
        told["llama.context_length"] = n_ctx
    if norm_eps is not None:
        if not 0 < norm_eps < math.inf:
            raise InvalidArgumentError(f"an epsilon of {norm_eps} is not positive and finite")
        told["llama.attention.layer_norm_rms_epsilon"] = norm_eps
    return told


def _target(info: TensorInfo) -> GGMLType:
    return info.type.target if isinstance(info.type, OldType) else info.type


def _rewrite(file: ModelFile, info: TensorInfo, piece: Bytes) -> Bytes:
    if not isinstance(info.type, OldType):
        return piece
    try:
        return rewrite(piece, info.type)
    except FormatError as error:
        raise FormatError(f"{file.path}: tensor {info.name!r}: {error}") from None


def _pieces(file: ModelFile, info: TensorInfo) -> Iterator[Bytes]:
    """The bytes of a tensor of the whole model, some rows at a time."""
    shares = [(part.mapping, part.header.tensors[info.name]) for part in file.parts]
    share = shares[0][1]
    if share.shape == info.shape:
        groups = [shares[:1]]  # each part has all of it
    elif share.shape[0] == info.shape[0]:
        groups = [[one] for one in shares]  # rows after rows
    else:
        groups = [shares]  # columns beside columns
    row_nbytes = share.type.row_nbytes(share.shape[0])
    n_rows = share.nbytes // row_nbytes
    step = max(PIECE_NBYTES // (row_nbytes * len(groups[0])), 1)
    for group in groups:
        for row in range(0, n_rows, step):
            size = (min(step, n_rows - row), row_nbytes)
            blocks = [_read(m, one.offset + row * row_nbytes, size) for m, one in group]
            yield np.concatenate(blocks, axis=1)


def _read(mapping: MappedFile, offset: int, size: tuple[int, int]) -> Bytes:
    """Read by ordinary reads, as the pages of a file that shrinks vanish under a map."""
    data = np.empty(size, np.uint8)
    if mapping.read_at(offset, data.data.cast("B")) != data.nbytes:
        raise ModelFileError(f"{mapping.path}: the file became shorter while it was read")
    return data
