"""A model of floats, streamed into one of blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from llamacpp import ops
from llamacpp.engine.threads import default_threads
from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.format import GGMLType, ModelFile
from llamacpp.format.writer import GGUFWriter
from llamacpp.quantize.encode import PIECE_NBYTES, encode
from llamacpp.quantize.importance import Float32Array, Importance
from llamacpp.quantize.mixes import FILE_TYPE_NUMBERS, FLOATS, MIXES, Chooser, is_quantizable
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["Plan", "PlannedTensor", "plan_model", "quantize_model"]

Progress = Callable[[int, int], None]


class PlannedTensor(NamedTuple):
    """A tensor, and what becomes of it."""

    tensor: Tensor
    type: GGMLType
    is_weighted: bool  # by an importance matrix

    @property
    def nbytes(self) -> int:
        """Bytes that it will take."""
        return self.tensor.n_rows * self.type.row_nbytes(self.tensor.shape[0])

    @property
    def is_changed(self) -> bool:
        """Whether it is encoded anew, or copied."""
        return self.type != self.tensor.type


@dataclass(frozen=True)
class Plan:
    """What becomes of the tensors of a model, in file order."""

    mix: str
    tensors: list[PlannedTensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(planned.nbytes for planned in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Of all tensors together."""
        return 8 * self.nbytes / sum(planned.tensor.n_elements for planned in self.tensors)


def plan_model(
    file: ModelFile,
    mix: str,
    *,
    importance: Importance | None = None,
    output_type: GGMLType | None = None,
    allow_requantize: bool = False,
) -> Plan:
    """Choose a type for every tensor of an open model, by llama.cpp's rules for that mix.

    Args:
        file: the model.
        mix: a name of MIXES.
        importance: how much columns matter; it changes a few types as well.
        output_type: of the output matrix, whatever the mix says.
        allow_requantize: take matrices that are quantised already.

    Raises:
        InvalidArgumentError: there is no such mix; the model is quantised already; or the
            importance matrix is that of another model.
        UnsupportedError: a matrix is, or would be, of a type that is not supported.
    """
    if mix not in MIXES:
        raise InvalidArgumentError(f"there is no type {mix!r}; the types: {', '.join(MIXES)}")
    chooser = Chooser(
        file.metadata, file.tensors, mix,
        has_importance=importance is not None, output_type=output_type,
    )  # fmt: skip
    planned = []
    for name, tensor in map_tensors(file).items():
        info = file.tensors[name]
        kind = chooser.choose(info) if is_quantizable(info) else tensor.type
        weighted = False
        if kind != tensor.type:
            _check(file, tensor, kind, allow_requantize)
            weighted = kind not in FLOATS and _weights(importance, tensor) is not None
        planned.append(PlannedTensor(tensor, kind, weighted))
    return Plan(mix, planned)


def quantize_model(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    mix: str,
    *,
    importance: Importance | None = None,
    output_type: GGMLType | None = None,
    allow_requantize: bool = False,
    n_threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Plan:
    """Write a model with its matrices in the types of a mix.

    The source is mapped and read piece by piece, so memory does not depend on its size. The target
    appears under its name when it is complete; until then, and after any failure, the name is
    untouched.

    Args:
        source: a GGUF file (or any part of one in parts) with F32, F16 or BF16 weights.
        target: the GGUF file to write.
        mix: a name of MIXES.
        importance: how much columns matter; see `read_importance`.
        output_type: of the output matrix, whatever the mix says.
        allow_requantize: take weights that are quantised already, adding error to error.
        n_threads: by default the cores allowed. The result does not depend on it.
        overwrite: replace the target if it exists.
        progress: called with the bytes read and their total.

    Returns:
        What was done.

    Raises:
        As `plan_model`; FormatError also for a weight that is NaN, infinite or too large.
        ModelFileError: a file cannot be read or written, or exists and may not be replaced.
    """
    work = ops.Work(default_threads() if n_threads is None else n_threads)
    with ModelFile(source) as file:
        plan = plan_model(
            file, mix, importance=importance, output_type=output_type,
            allow_requantize=allow_requantize,
        )  # fmt: skip
        _check_target(file, Path(target))
        with GGUFWriter(target, alignment=file.alignment, overwrite=overwrite) as writer:
            _add_metadata(writer, file, mix, importance)
            for planned in plan.tensors:
                writer.add_tensor(planned.tensor.name, planned.type, planned.tensor.shape)
            done, total = 0, sum(planned.tensor.nbytes for planned in plan.tensors)
            for planned in plan.tensors:
                tensor = planned.tensor
                pieces = _pieces(planned, work, importance)
                writer.write_tensor(
                    tensor.name,
                    _watched(pieces, done, tensor.nbytes / planned.nbytes, total, progress),
                )
                done += tensor.nbytes
            progress(total, total)
            file.check_unchanged()
    return plan


def _check_target(file: ModelFile, target: Path) -> None:
    if target.exists() and any(target.samefile(part.mapping.path) for part in file.parts):
        raise InvalidArgumentError(f"{target} is the model itself: write to another name")


def _check(file: ModelFile, tensor: Tensor, kind: GGMLType, allow_requantize: bool) -> None:
    if tensor.type not in FLOATS and not allow_requantize:
        raise InvalidArgumentError(
            f"{file.path}: tensor {tensor.name!r} is {tensor.type.name} already, and encoding it "
            "again would add error to error: start from the F16 file, or allow requantizing"
        )
    for one in (tensor.type, kind):
        if not ops.is_supported(one):
            raise UnsupportedError(
                f"{file.path}: tensor {tensor.name!r}: {one.name} is not supported"
            )


def _weights(importance: Importance | None, tensor: Tensor) -> Float32Array | None:
    if importance is None:
        return None
    rows = tensor.shape[1]
    return importance.of(tensor.name, tensor.shape[0], tensor.n_rows // rows)


def _pieces(
    planned: PlannedTensor, work: ops.Work, importance: Importance | None
) -> Iterator[memoryview]:
    tensor = planned.tensor
    if planned.is_changed:
        weights = _weights(importance, tensor) if planned.is_weighted else None
        yield from encode(tensor, planned.type, work, weights)
        return
    for start in range(0, tensor.nbytes, PIECE_NBYTES):
        yield tensor.data[start : start + PIECE_NBYTES]


def _watched(
    pieces: Iterator[memoryview], before: int, ratio: float, total: int, progress: Progress
) -> Iterator[memoryview]:
    """The pieces of a tensor, each told of as the source's bytes that it stands for."""
    written = 0
    for piece in pieces:
        yield piece
        written += len(piece)
        progress(before + int(written * ratio), total)


def _add_metadata(
    writer: GGUFWriter, file: ModelFile, mix: str, importance: Importance | None
) -> None:
    """The source's, with what has changed."""
    ours: dict[str, int | str] = {
        "general.quantization_version": 2,
        "general.file_type": FILE_TYPE_NUMBERS[mix],
    }
    if importance is not None:
        ours["quantize.imatrix.file"] = str(importance.path or "")
        ours["quantize.imatrix.dataset"] = ", ".join(importance.datasets)
        ours["quantize.imatrix.entries_count"] = len(importance.sums)
        ours["quantize.imatrix.chunks_count"] = importance.n_chunks
    for key in file.metadata:
        if key in ours or key.startswith("split.") or key == "general.alignment":
            continue
        value = file.metadata[key]
        is_scalar = isinstance(value, (int, float, str, bytes))
        writer.add(key, value, file.metadata.type_of(key) if is_scalar else None)
    for key, value in ours.items():
        writer.add(key, value)
