"""Whether a model computes what PyTorch computes: layer by layer, and in its predictions.

The reference is the transformers library on the folder that the model came from, in float64.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llamacpp import ops
from llamacpp.engine import Model
from llamacpp.errors import InvalidArgumentError, ModelFileError, UnsupportedError
from llamacpp.format import GGMLType
from llamacpp.models.cache import KVCache
from llamacpp.models.layers import Batch, Workspace

__all__ = ["Agreement", "Row", "bound_of", "verify"]

Float64 = npt.NDArray[np.float64]

# The error of logits that a weight type may bring, for the coarsest of a model's matrices: twelve
# times what rounding to it brings to random models (docs/accuracy.md), and what sums of floats do.
_BOUNDS = {
    GGMLType.F32: 1e-9,
    GGMLType.F16: 2e-6,
    GGMLType.BF16: 1e-4,
    GGMLType.Q8_0: 2e-3,
    GGMLType.Q6_K: 0.011,
    GGMLType.Q5_1: 0.033,
    GGMLType.Q5_K: 0.036,
    GGMLType.Q5_0: 0.047,
    GGMLType.Q4_K: 0.13,
    GGMLType.Q4_1: 0.13,
    GGMLType.IQ4_NL: 0.15,
    GGMLType.IQ4_XS: 0.15,
    GGMLType.Q4_0: 0.18,
}
_COARSE = 0.5  # for all others: worse than that is no agreement of any kind


@dataclass(frozen=True)
class Row:
    """How far two tensors are apart, over all prompts.

    Attributes:
        name: "layer 0" and so on, the residual stream (T, n_embd) after a layer; or "logits".
        max_error: largest difference of two values.
        nmse: sum of squared differences over that of the reference's squares.
    """

    name: str
    max_error: float
    nmse: float


@dataclass(frozen=True)
class Agreement:
    """What was found.

    Attributes:
        rows: all layers, then the logits.
        kl: mean of KL(reference || ours) of the next token, in nats.
        top1: share of the positions where both hold the same token for the most probable.
        bound: of the NMSE of logits.
    """

    rows: list[Row]
    kl: float
    top1: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the logits are within the bound; a NaN never is."""
        return self.rows[-1].nmse <= self.bound


def bound_of(model: Model) -> float:
    """The NMSE of logits that the coarsest type of the model's matrices may bring."""
    kinds = {tensor.type for tensor in model.weights.values() if len(tensor.shape) > 1}
    return max(_BOUNDS.get(kind, _COARSE) for kind in kinds)


def verify(
    model: Model,
    folder: str | os.PathLike[str],
    prompts: Sequence[Sequence[int]],
    *,
    bound: float | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Agreement:
    """Evaluate prompts here and in PyTorch, and compare.

    Args:
        model: what to check.
        folder: the Hugging Face model that it came from.
        prompts: token ids, each at least one.
        bound: of the NMSE of logits; by default `bound_of(model)`.
        progress: called with the prompts that are done, and their number.

    Raises:
        UnsupportedError: PyTorch or transformers are not installed.
        ModelFileError: transformers cannot load the folder.
        InvalidArgumentError: no prompts, or the two models are of different shapes.
    """
    if not prompts or not all(prompts):
        raise InvalidArgumentError("there is nothing to compare: give prompts of a token or more")
    reference = _Reference(folder)
    ours = _Ours(model, max(map(len, prompts)))
    pairs: list[tuple[list[Float64], list[Float64]]] = []
    for number, prompt in enumerate(prompts):
        want, got = reference.run(prompt), ours.run(prompt)
        if [w.shape for w in want] != [g.shape for g in got]:
            raise InvalidArgumentError(
                f"{model.file.path} has {len(got) - 1} layers of {got[0].shape[1]} and"
                f" {got[-1].shape[1]} tokens, {folder} {len(want) - 1} of {want[0].shape[1]} and"
                f" {want[-1].shape[1]}: these are not the same model"
            )
        pairs.append((want, got))
        progress(number + 1, len(prompts))
    names = [*(f"layer {i}" for i in range(model.config.n_layer)), "logits"]
    with np.errstate(invalid="ignore"):  # of an infinite logit comes NaN, which the report shows
        p, q = (_log_softmax(np.concatenate([pair[j][-1] for pair in pairs])) for j in (0, 1))
    same_top = (p.argmax(axis=1) == q.argmax(axis=1)) & ~np.isnan(q).any(axis=1)
    return Agreement(
        rows=[_row(name, [(w[i], g[i]) for w, g in pairs]) for i, name in enumerate(names)],
        kl=float(np.maximum((np.exp(p) * (p - q)).sum(axis=1), 0.0).mean()),
        top1=float(same_top.mean()),
        bound=bound_of(model) if bound is None else bound,
    )


def _row(name: str, pairs: list[tuple[Float64, Float64]]) -> Row:
    squares = sum(float(np.square(want).sum()) for want, _ in pairs)
    errors = [got - want for want, got in pairs]
    missed = sum(float(np.square(error).sum()) for error in errors)
    largest = float(np.max([np.abs(error).max() for error in errors]))  # NaN if any is
    return Row(name, largest, missed / squares if squares else float(missed > 0))


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


class _Ours:
    """Evaluates prompts, and keeps the residual stream after every layer."""

    def __init__(self, model: Model, n_ctx: int) -> None:
        config = model.config
        cache = KVCache(
            n_layer=config.n_layer,
            n_seq=1,
            n_kv_head=config.n_kv_head,
            n_ctx=n_ctx,
            head_dims=(config.head_dim_k, config.head_dim_v),
            cache_type="f32",
        )
        self._network = model.network
        self._space = Workspace(model.network, cache, n_ctx, model.n_threads)
        self._space.blocks = [_Kept(block, self) for block in self._space.blocks]
        self._n = 0
        self.streams: list[Float64] = []

    def run(self, tokens: Sequence[int]) -> list[Float64]:
        """The stream (T, n_embd) after each layer, then the logits (T, n_vocab)."""
        n = self._n = len(tokens)
        out = ops.Buffer(n, self._network.n_vocab)
        places = (array("i", values) for values in (range(n), [0] * n, range(n)))
        batch = Batch(ops.int32("tokens", tokens), *places)
        self.streams = []
        self._network.forward(batch, self._space, out.ptr, lambda: None)
        return [*self.streams, out.array.astype(np.float64)]

    def keep(self) -> None:
        """Take the stream as it is now."""
        self.streams.append(self._space.x.array[: self._n].astype(np.float64))


class _Kept(ops.Block):
    """A block after which the residual stream is kept."""

    def __init__(self, block: ops.Block, ours: _Ours) -> None:
        super().__init__()
        self._block, self._ours = block, ours
        self.names, self.tensors = block.names, block.tensors

    def run(self, batch: Any, work: ops.Work) -> None:
        """As `Block.run`."""
        self._block.run(batch, work)
        self._ours.keep()

    def run_one(self, index: int, batch: Any, work: ops.Work) -> None:
        """As `Block.run_one`."""
        self._block.run_one(index, batch, work)
        if index == len(self.names) - 1:
            self._ours.keep()


class _Reference:
    """The model of a folder in the transformers library."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise UnsupportedError(
                f"{error.name} is not installed, and is what to compare with:"
                " pip install 'llamacpp[parity]'"
            ) from None
        if not os.path.isdir(folder):  # noqa: PTH112 - else the name of a model in the hub
            raise ModelFileError(f"{folder}: is no folder with a Hugging Face model")
        transformers.utils.logging.disable_progress_bar()
        try:
            self._network: Any = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float64,
                local_files_only=True,
                attn_implementation="eager",
                experts_implementation="eager",  # the grouped product has no float64
            )
        except Exception as error:  # of many kinds
            raise ModelFileError(f"{folder}: transformers cannot load it: {error}") from None
        self._torch = torch
        self._streams: list[Float64] = []
        base: Any = self._network.base_model
        base = getattr(base, "language_model", base)
        for layer in getattr(base, "layers", None) or base.h:
            layer.register_forward_hook(self._keep)

    def _keep(self, layer: Any, given: Any, output: Any) -> None:
        stream = output[0] if isinstance(output, tuple) else output
        self._streams.append(stream.reshape(-1, stream.shape[-1]).double().numpy().copy())

    def run(self, tokens: Sequence[int]) -> list[Float64]:
        """As `_Ours.run`."""
        self._streams = []
        with self._torch.no_grad():
            logits = self._network(self._torch.tensor([list(tokens)])).logits[0]
        return [*self._streams, logits.double().numpy()]
