"""From the tensor directory to the weights that a graph expects, each checked once."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from llamacpp import ops
from llamacpp.errors import FormatError, UnsupportedError
from llamacpp.tensors import Tensor

__all__ = ["LayerWeights", "Weights"]


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

    def values(self, name: str, n: int) -> array[float] | None:
        """The values of a small float32 tensor (n,), if there is one."""
        tensor = self.find(name, n)
        if tensor is None:
            return None
        ops.vector(tensor)  # refuses other types
        return array("f", bytes(tensor.data))

    def norm(self, name: str, n: int, eps: float, kind: int = ops.NORM_RMS) -> ops.Norm:
        """The norm of n values whose tensors are ``NAME.weight``, and ``NAME.bias`` if there is."""
        weight = self.get(f"{name}.weight", n)
        bias = self.find(f"{name}.bias", n) if kind == ops.NORM_LAYER else None
        return ops.Norm(weight, eps, kind, bias)


class LayerWeights:
    """The weights of one transformer block, by the names that they have within it.

    Args:
        weights: those of the model.
        layer: number of the block.
        eps: epsilon of its norms.
        norm_kind: ops.NORM_RMS or NORM_LAYER.
    """

    def __init__(self, weights: Weights, layer: int, eps: float, norm_kind: int) -> None:
        self._weights = weights
        self._prefix = f"blk.{layer}."
        self._eps = eps
        self._norm_kind = norm_kind

    def __contains__(self, name: str) -> bool:
        return f"{self._prefix}{name}.weight" in self._weights

    def get(self, name: str, *shape: int) -> Tensor:
        """As `Weights.get`; `name` is whole but for the block's prefix."""
        return self._weights.get(self._prefix + name, *shape)

    def find(self, name: str, *shape: int) -> Tensor | None:
        """As `Weights.find`."""
        return self._weights.find(self._prefix + name, *shape)

    def norm(self, name: str, n: int) -> ops.Norm:
        """A norm of n values."""
        return self._weights.norm(self._prefix + name, n, self._eps, self._norm_kind)

    def linear(
        self,
        rows: Mapping[str, int],
        k: int,
        norm: ops.Norm | None = None,
        epilogue: int = ops.STORE,
    ) -> ops.Linear:
        """Products of one input by matrices (k -> rows), with biases if the file has them."""
        return ops.Linear(
            [self.get(f"{name}.weight", k, n) for name, n in rows.items()],
            [self.find(f"{name}.bias", n) for name, n in rows.items()],
            norm=norm,
            epilogue=epilogue,
        )

    def fused_linear(
        self,
        name: str,
        rows: Sequence[int],
        k: int,
        norm: ops.Norm | None = None,
        epilogue: int = ops.STORE,
    ) -> ops.Linear:
        """The same of matrices that lie as one below each other: products with its parts."""
        matrix = self.get(f"{name}.weight", k, sum(rows))
        bias = self.find(f"{name}.bias", sum(rows))
        starts = [sum(rows[:i]) for i in range(len(rows))]
        cuts = list(zip(starts, rows, strict=True))
        return ops.Linear(
            [matrix.part(*cut) for cut in cuts],
            [bias.part(*cut) if bias is not None else None for cut in cuts],
            norm=norm,
            epilogue=epilogue,
        )

    def experts(
        self,
        n_ff: int,
        n_embd: int,
        n_expert: int,
        **options: Any,
    ) -> ops.Experts:
        """Feed-forward networks, gated, that lie as one behind each other: ffn_*_exps.

        Args:
            n_ff: width of each.
            n_embd: width of the residual stream.
            n_expert: how many there are.
            options: what else `ops.Experts` asks for.
        """
        shapes = {"gate": (n_embd, n_ff), "up": (n_embd, n_ff), "down": (n_ff, n_embd)}
        matrices = {
            name: self.get(f"ffn_{name}_exps.weight", *shape, n_expert)
            for name, shape in shapes.items()
        }
        biases = [
            self.find(f"ffn_{name}_exps.bias", shape[1], n_expert)
            for name, shape in shapes.items()
        ]
        return ops.Experts(**matrices, biases=biases, **options)
