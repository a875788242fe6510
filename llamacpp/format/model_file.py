"""A model on disk: one file, or several that make up one model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llamacpp.errors import FormatError, ModelFileError, UnsupportedError
from llamacpp.format.gguf import GGUFHeader, TensorInfo, parse_header
from llamacpp.format.mapping import MappedFile
from llamacpp.format.metadata import Metadata
from llamacpp.format.sniff import is_legacy

if TYPE_CHECKING:
    from llamacpp.format.legacy.header import LegacyHeader

__all__ = ["ModelFile", "Part"]

_PART_NAME = re.compile(
    r"(?P<prefix>.*)-(?P<index>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL
)


@dataclass(frozen=True)
class Part:
    """One file of a model: its mapping and what its header says."""

    mapping: MappedFile
    header: GGUFHeader


Opener = Callable[[Path], Part]


class ModelFile:
    """An open model file: metadata, the directory of its tensors, and their mapped bytes.

    Opening costs the header, whatever the model's size: no weight is read, no vocabulary entry
    becomes a Python object. Any file of a model in several parts (`NAME-00001-of-0000N.gguf`)
    opens the whole model.

    Files of 2023 (`ggml`, `ggmf`, `ggjt`; parts are FILE, FILE.1, ...) look like GGUF files. Their
    vocabulary is read whole, and their tensors can be mapped if they lie as today's would.

    Attributes:
        path: as given.
        parts: the files, in order.
        metadata: the key-value pairs of the (first) file.
        tensors: every tensor of every part by name; offsets count from the start of its part.
        format: name and version of the format, as "GGUF v3" or "ggjt v1".
        version: of the format; 0 where it has none.
        alignment: of tensor offsets in the (first) file, in bytes.
        nbytes: size of all files together.
    """

    def __init__(self, path: str | os.PathLike[str], **how: Any) -> None:
        """Open the model at `path`.

        Args:
            path: a file of it.
            how: whether and how it is mapped: see `MappedFile`.

        Raises:
            ModelFileError: a file is missing or cannot be opened, read or mapped.
            FormatError: a file breaks the rules of the format, or the parts do not fit together.
            UnsupportedError: the file is of a kind that is not supported.
        """
        self.path = Path(path)
        self.parts = _open_parts(self.path, partial(_open_part, how))
        first = self.parts[0].header
        self.metadata: Metadata = first.metadata
        self.format = first.label
        self.version = first.version
        self.alignment = first.alignment
        self.nbytes = sum(part.mapping.nbytes for part in self.parts)
        self.tensors: dict[str, TensorInfo] = _directory(self.parts)

    def check_unchanged(self) -> None:
        """Raise ModelFileError if a file was written to or cut short since it was opened."""
        for part in self.parts:
            part.mapping.check_unchanged()

    def close(self) -> None:
        """Let go of the files. Views of their bytes, and tensors, stay valid while they exist."""
        self.parts = ()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self.parts

    def mapping(self, part: int) -> MappedFile:
        """Look up the mapped file that holds the tensors of one part.

        Raises:
            ModelFileError: the model file was closed.
            UnsupportedError: the tensors do not lie as today's would.
        """
        if self.closed:
            raise ModelFileError(f"{self.path}: the model file is closed")
        opened = self.parts[part]
        legacy = _legacy(opened.header)
        if legacy and legacy.obstacle:
            raise UnsupportedError(
                f"{self.path}: this {self.format} file cannot run in place, as "
                f"{legacy.obstacle}; make a GGUF file of it: "
                f"llamacpp convert {self.path} NEW.gguf"
            )
        return opened.mapping

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.tensors)} tensors, {self.nbytes} bytes"
        return f"<ModelFile {str(self.path)!r}: {state}>"


def _open_part(how: dict[str, Any], path: Path) -> Part:
    mapping = MappedFile(path, **how)
    if is_legacy(mapping):
        from llamacpp.format.legacy.header import parse_legacy

        part = Part(mapping, parse_legacy(mapping))
    else:
        part = Part(mapping, parse_header(mapping))
    mapping.check_unchanged()  # what was parsed is what is mapped
    return part


def _legacy(header: GGUFHeader) -> LegacyHeader | None:
    """The header, if it is of a file of 2023: the reader of these is loaded when one is met."""
    if type(header) is GGUFHeader:
        return None
    from llamacpp.format.legacy.header import LegacyHeader

    return header if isinstance(header, LegacyHeader) else None


def _open_parts(path: Path, open_part: Opener) -> tuple[Part, ...]:
    """Open `path`, and the rest of the model if it is one of several parts."""
    name = _PART_NAME.fullmatch(path.name)
    opened = open_part(path)
    legacy = _legacy(opened.header)
    if legacy:
        return _open_old_parts(opened, legacy, open_part)
    count = opened.header.metadata.integer("split.count", 1)
    if count <= 1:  # an ordinary file, whatever its name
        return (opened,)
    if name is None:
        raise ModelFileError(
            f"{path}: is one of {count} parts of a model; their names must be "
            f"NAME-00001-of-{count:05d}.gguf and so on for the others to be found"
        )
    if int(name["count"]) != count:
        raise FormatError(
            f"{path}: the name says {int(name['count'])} parts, but split.count is {count}"
        )
    given = int(name["index"]) - 1
    if not 0 <= given < count:
        raise FormatError(f"{path}: there is no part {given + 1} of {count}: the file was misnamed")
    parts = []
    for index in range(count):
        part_path = path.with_name(f"{name['prefix']}-{index + 1:05d}-of-{count:05d}.gguf")
        part = opened if index == given else _open_other_part(part_path, index, count, open_part)
        _check_place(part, index, count)
        parts.append(part)
    return tuple(parts)


def _open_other_part(path: Path, index: int, count: int, open_part: Opener) -> Part:
    if not path.exists():
        raise ModelFileError(f"{path}: missing; it is part {index + 1} of {count} of the model")
    return open_part(path)


def _open_old_parts(opened: Part, header: LegacyHeader, open_part: Opener) -> tuple[Part, ...]:
    """Complete a model of 2023, of which one part is open."""
    from llamacpp.format.legacy.parts import check_part, part_paths

    parts, given = [], opened.mapping.path
    for index, path in enumerate(part_paths(given, header.n_parts)):
        n = header.n_parts
        part = opened if path == given else _open_other_part(path, index, n, open_part)
        check_part(path, part.header, header)
        parts.append(part)
    return tuple(parts)


def _directory(parts: tuple[Part, ...]) -> dict[str, TensorInfo]:
    """The tensors of all parts: each is in one of them or, in 2023, shared out over all."""
    legacy = _legacy(parts[0].header)
    if legacy:
        from llamacpp.format.legacy.parts import join_tensors

        return join_tensors(legacy)
    tensors: dict[str, TensorInfo] = {}
    for index, part in enumerate(parts):
        for name, info in part.header.tensors.items():
            if name in tensors:
                raise FormatError(f"{part.mapping.path}: tensor {name!r} is in two parts")
            tensors[name] = info._replace(part=index) if index else info
    _check_tensor_count(parts, len(tensors))
    return tensors


def _check_place(part: Part, index: int, count: int) -> None:
    metadata, path = part.header.metadata, part.mapping.path
    if metadata.integer("split.count") != count:
        raise FormatError(
            f"{path}: split.count is {metadata.integer('split.count')}, "
            f"but the other parts say {count}: parts of different models are mixed"
        )
    if metadata.integer("split.no") != index:
        raise FormatError(
            f"{path}: split.no is {metadata.integer('split.no')}, but part {index + 1} "
            f"must have {index}: the file was misnamed or duplicated"
        )


def _check_tensor_count(parts: tuple[Part, ...], found: int) -> None:
    if len(parts) == 1:
        return
    for index, part in enumerate(parts):
        metadata = part.header.metadata
        if index and "split.tensors.count" not in metadata:
            continue  # the first part's count is the one that matters
        claimed = metadata.integer("split.tensors.count")
        if claimed != found:
            raise FormatError(
                f"{part.mapping.path}: split.tensors.count is {claimed}, "
                f"but the parts hold {found} tensors: parts of different models are mixed"
            )
