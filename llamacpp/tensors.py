"""Tensors: typed views of a mapped model file. Nothing is ever copied."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

from llamacpp.errors import InvalidArgumentError
from llamacpp.format.model_file import ModelFile
from llamacpp.format.pages import address_of
from llamacpp.format.types import GGMLType

__all__ = ["Tensor", "map_tensors"]


@dataclass(eq=False)  # not frozen, only because that takes three times as long to make
class Tensor:
    """A tensor where it lies: its type, extents, and the address of its first byte. Immutable.

    The bytes stay mapped for as long as the tensor, or its `data`, is referred to.

    Attributes:
        name: as in the file.
        type: storage type of the elements.
        shape: extents, fastest first: `shape[0]` is the length of a row. A matrix of R rows and
            C columns has the shape (C, R).
        address: of the first byte. Aligned to no more than the file's alignment.
        nbytes: size of the data.
        data: the bytes, read-only.
        whole: the tensor in the file that this one is a part of; None: it is one itself.
    """

    name: str
    type: GGMLType
    shape: tuple[int, ...]
    address: int
    nbytes: int
    data: memoryview = field(repr=False, compare=False)
    whole: Tensor | None = field(default=None, repr=False)

    @classmethod
    def from_buffer(
        cls, name: str, kind: GGMLType, shape: tuple[int, ...], buffer: memoryview | bytes
    ) -> Tensor:
        """View the bytes of any buffer as a tensor.

        Raises:
            InvalidArgumentError: the buffer's size is not that of the tensor.
        """
        data = memoryview(buffer).cast("B").toreadonly()
        length = kind.block.length
        rows = 1
        for extent in shape[1:]:
            rows *= extent
        if not shape or min(shape) < 1 or shape[0] % length:
            raise InvalidArgumentError(
                f"tensor {name!r}: {list(shape)} is no shape of {kind.name}, "
                f"whose rows are multiples of {length}"
            )
        nbytes = rows * kind.row_nbytes(shape[0])
        if len(data) != nbytes:
            raise InvalidArgumentError(
                f"tensor {name!r}: {kind.name} {list(shape)} takes {nbytes} bytes, "
                f"but the buffer has {len(data)}"
            )
        return cls(name, kind, shape, address_of(data), nbytes, data)

    @property
    def row_nbytes(self) -> int:
        """Bytes of one row of `shape[0]` elements; rows follow each other without gaps."""
        return self.type.row_nbytes(self.shape[0])

    @property
    def n_rows(self) -> int:
        """Rows of all matrices together: the product of `shape[1:]`."""
        return self.nbytes // self.row_nbytes

    @property
    def n_elements(self) -> int:
        """Product of `shape`."""
        return self.n_rows * self.shape[0]

    def part(self, begin: int, count: int) -> Tensor:
        """View rows `begin` to `begin + count` of a matrix, or as many elements of a vector.

        Raises:
            InvalidArgumentError: it has not that many.
        """
        if begin < 0 or count < 1 or begin + count > self.shape[-1]:
            raise InvalidArgumentError(
                f"tensor {self.name!r} has no part {begin} to {begin + count}: it ends at"
                f" {self.shape[-1]}"
            )
        size = self.nbytes // self.shape[-1]
        return Tensor(
            self.name,
            self.type,
            (*self.shape[:-1], count),
            self.address + begin * size,
            count * size,
            self.data[begin * size : (begin + count) * size],
            self.whole or self,
        )

    def as_row(self) -> Tensor:
        """View a vector as a matrix of one row."""
        return replace(self, shape=(*self.shape, 1), whole=self.whole or self)


def map_tensors(file: ModelFile) -> dict[str, Tensor]:
    """View every tensor of a model file, in file order.

    Raises:
        ModelFileError: the model file was closed.
        UnsupportedError: it is a file of 2023 that has to be converted.
    """
    tensors = {}
    for name, info in file.tensors.items():
        mapping = file.mapping(info.part)
        tensors[name] = Tensor(
            name,
            cast(GGMLType, info.type),  # a file with any other gives no mapping
            info.shape,
            mapping.address + info.offset,
            info.nbytes,
            mapping.memory[info.offset : info.offset + info.nbytes],
        )
    return tensors
