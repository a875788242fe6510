"""FILE, FILE.1, FILE.2, ...: `ggml` and `ggmf` models that share out their tensors over files.

A matrix is split by rows or by columns, as the machines that ran it shared its products; vectors
are in every part whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llamacpp.errors import FormatError
from llamacpp.format.gguf import GGUFHeader, TensorInfo
from llamacpp.format.legacy.header import LegacyHeader

__all__ = ["check_part", "join_tensors", "part_paths"]


def part_paths(given: Path, count: int) -> Iterator[Path]:
    """Where the parts of a model must be, one of which is given."""
    first = given
    if given.suffix[1:].isdecimal() and 0 < int(given.suffix[1:]) < count:
        base = given.with_suffix("")
        first = base if base.exists() else given
    yield first
    yield from (first.with_name(f"{first.name}.{i}") for i in range(1, count))


def check_part(path: Path, part: GGUFHeader, given: LegacyHeader) -> None:
    """Check that a part belongs to the same model as the one given.

    Raises:
        FormatError: it does not.
    """
    if (
        not isinstance(part, LegacyHeader)
        or part.preamble != given.preamble
        or _stored(part) != _stored(given)
    ):
        raise FormatError(
            f"{path}: sizes, vocabulary or tensors are not those of the other parts: parts of "
            "different models are mixed"
        )


def _stored(part: LegacyHeader) -> dict[str, tuple[object, ...]]:
    return {name: (info.type, info.shape) for name, info in part.tensors.items()}


def join_tensors(first: LegacyHeader) -> dict[str, TensorInfo]:
    """The directory of the whole model; offsets are those of the first part's share."""
    joined = {}
    for name, info in first.tensors.items():
        shape = first.shapes[name]
        rows = shape[1] if len(shape) > 1 else 1
        joined[name] = info._replace(shape=shape, nbytes=rows * info.type.row_nbytes(shape[0]))
    return joined
