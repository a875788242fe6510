"""Importance matrices: how much each column of a weight matters, measured on a text.

The output of a product is a sum over columns, of a weight times an input. An error in a weight
counts by the square of its input, whose mean is kept here for every column. The file format is that
of llama.cpp: GGUF with, for each weight NAME, the tensors NAME.in_sum2 (columns, matrices), sums of
squares, and NAME.counts (1, matrices), the tokens that were added up; or the older `.dat`, which is
read only.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llamacpp.errors import FormatError, InvalidArgumentError, ModelFileError
from llamacpp.format import GGMLType, ModelFile
from llamacpp.format.writer import GGUFWriter
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["Importance", "read_importance", "write_importance"]

Float32Array = npt.NDArray[np.float32]
FLOOR = 1e-6  # of the mean: a column that was never used still has some say
MAX_DAT_NBYTES = 1 << 30  # the `.dat` of a 405B model has 20 MB


@dataclass(frozen=True)
class Importance:
    """Sums over the tokens of a text, by the name of the weight.

    Attributes:
        sums: float32 (matrices, columns): sums of the squares of inputs; matrices is 1 but for
            experts.
        counts: float32 (matrices,): tokens of each sum.
        datasets: names of the texts.
        n_chunks: pieces of text that were evaluated.
        chunk_size: tokens of a piece.
        path: the file, if it was read from one.
    """

    sums: Mapping[str, Float32Array]
    counts: Mapping[str, Float32Array]
    datasets: list[str] = field(default_factory=list)
    n_chunks: int = 0
    chunk_size: int = 0
    path: Path | None = None

    def of(self, name: str, columns: int, matrices: int) -> Float32Array | None:
        """Weights (matrices, columns) with a mean of 1 in each row; None if there are none.

        Experts that saw no token weigh all columns the same.

        Raises:
            InvalidArgumentError: the file is of another model: the shape differs.
        """
        if name not in self.sums:
            return None
        sums, counts = self.sums[name], self.counts[name]
        if sums.shape == (1, matrices * columns):  # of a `.dat`: experts one behind the other
            sums = sums.reshape(matrices, columns)
        if sums.shape != (matrices, columns):
            raise InvalidArgumentError(
                f"the importance matrix has {list(sums.shape[::-1])} values for {name!r}, "
                f"whose shape wants {[columns, matrices]}: it was made with another model"
            )
        mean = sums.astype(np.float64) / np.maximum(counts, 1)[:, None]
        total = mean.mean(axis=1, keepdims=True)
        mean = np.where(total > 0, mean / np.where(total > 0, total, 1), 1)
        return np.ascontiguousarray(np.maximum(mean, FLOOR), np.float32)


def write_importance(
    importance: Importance, path: str | os.PathLike[str], *, overwrite: bool = False
) -> None:
    """Write an importance matrix as GGUF.

    Raises:
        ModelFileError: the file cannot be written, or exists and may not be replaced.
    """
    with GGUFWriter(path, overwrite=overwrite) as writer:
        writer.add("general.type", "imatrix")
        writer.add("imatrix.datasets", importance.datasets or [""])
        writer.add("imatrix.chunk_count", importance.n_chunks)
        writer.add("imatrix.chunk_size", importance.chunk_size)
        pairs = [(f"{name}.{kind}", values.reshape(len(values), -1))
                 for name, sums in sorted(importance.sums.items())
                 for kind, values in (("in_sum2", sums), ("counts", importance.counts[name]))
                 ]  # fmt: skip
        for name, values in pairs:
            writer.add_tensor(name, GGMLType.F32, values.shape[::-1])
        for name, values in pairs:
            writer.write_tensor(name, np.ascontiguousarray(values, "<f4"))


def read_importance(path: str | os.PathLike[str]) -> Importance:
    """Read an importance matrix: GGUF, or the older `.dat`.

    Raises:
        ModelFileError: the file cannot be read.
        FormatError: it is no importance matrix, or holds what none can.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_gguf = file.read(4) == b"GGUF"
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    found = _read_gguf(path) if is_gguf else _read_dat(path)
    if not found.sums:
        raise FormatError(f"{path}: holds no importances; is it an importance matrix?")
    for name, sums in found.sums.items():
        for values in (sums, found.counts[name]):
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise FormatError(f"{path}: a sum or count of {name!r} is negative or not finite")
    return found


def _read_gguf(path: Path) -> Importance:
    with ModelFile(path) as file:
        tensors, metadata = map_tensors(file), file.metadata
        sums, counts = {}, {}
        for full, tensor in tensors.items():
            name, _, kind = full.rpartition(".")
            if kind == "in_sum2":
                if f"{name}.counts" not in tensors:
                    raise FormatError(f"{path}: {full!r} has no counts beside it")
                sums[name] = _values(path, tensor)
                counts[name] = _values(path, tensors[f"{name}.counts"])[:, 0]
                if len(sums[name]) != len(counts[name]):
                    raise FormatError(f"{path}: the sums and counts of {name!r} do not fit")
        return Importance(
            sums,
            counts,
            list(metadata.strings("imatrix.datasets", [])),
            metadata.integer("imatrix.chunk_count", 0),
            metadata.integer("imatrix.chunk_size", 0),
            path,
        )


def _values(path: Path, tensor: Tensor) -> Float32Array:
    if tensor.type != GGMLType.F32:
        raise FormatError(f"{path}: {tensor.name!r} is {tensor.type.name} instead of F32")
    values = np.frombuffer(tensor.data, "<f4").reshape(-1, tensor.shape[0])
    return np.array(values, np.float32)


def _read_dat(path: Path) -> Importance:
    """Read entries of: length of a name, name, calls, length, values; then calls and a data set."""
    if path.stat().st_size > MAX_DAT_NBYTES:
        raise FormatError(f"{path}: is too large for an importance matrix")
    reader = _Reader(path, path.read_bytes())
    sums, counts = {}, {}
    for _ in range(reader.integer()):
        name = reader.take(reader.integer()).decode("utf-8", "replace")
        n_calls, n = reader.integer(), reader.integer()
        if n < 1:
            raise FormatError(f"{path}: {name!r} has no values")
        sums[name] = np.frombuffer(reader.take(4 * n), "<f4").reshape(1, n)
        counts[name] = np.array([n_calls], np.float32)
    n_chunks = reader.integer() if reader.left else 0
    datasets = [reader.take(reader.integer()).decode("utf-8", "replace")] if reader.left else []
    return Importance(sums, counts, datasets, n_chunks, 0, path)


class _Reader:
    """Little-endian int32s and bytes, one after another."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._data, self._at = path, data, 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, n: int) -> bytes:
        if not 0 <= n <= self.left:
            raise FormatError(f"{self._path}: is no importance matrix, or is cut short")
        self._at += n
        return self._data[self._at - n : self._at]

    def integer(self) -> int:
        value: int = struct.unpack("<i", self.take(4))[0]
        return value
