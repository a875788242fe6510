"""From the tensor directory to the weights that a graph expects, each checked once."""

from __future__ import annotations

from collections.abc import Mapping

from llamacpp import ops
from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.tensors import Tensor

__all__ = ["Weights"]


class Weights:
    """Hands out tensors by name, with the shape and type that the graph needs.

    Attributes:
        used: every tensor handed out, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.used: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def get(self, name: str, *shape: int) -> Tensor:
        """Look up a tensor of `shape` (fastest first).

        Raises:
            FormatError: there is none of that name, or its shape differs.
            UnsupportedError: there are no kernels for its type.
        """
        if name not in self._tensors:
            raise FormatError(f"tensor {name!r} is missing, and the model cannot be used without")
        tensor = self._tensors[name]
        if tensor.shape != shape:
            raise FormatError(
                f"tensor {name!r} has the shape {list(tensor.shape)} instead of {list(shape)}"
            )
        if not ops.is_supported(tensor.type):
            raise UnsupportedError(
                f"tensor {name!r} is stored as {tensor.type.name}, which is not supported"
            )
        self.used[name] = tensor
        return tensor

    def find(self, name: str, *shape: int) -> Tensor | None:
        """Do as `get`, but return None where there is no such tensor."""
        return self.get(name, *shape) if name in self else None
