"""What ops work on, checked and prepared for C once: weights, norms, shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llamacpp._native import check, ffi, lib
from llamacpp.errors import InvalidArgumentError, UnsupportedError
from llamacpp.format.types import GGMLType
from llamacpp.tensors import Tensor

__all__ = [
    "ADD",
    "F16",
    "F32",
    "GEGLU",
    "GELU",
    "NORM_LAYER",
    "NORM_RMS",
    "Q8_0",
    "ROPE_ADJACENT",
    "ROPE_HALF",
    "ROPE_NONE",
    "STORE",
    "SWIGLU",
    "SWIGLU_OAI",
    "Attention",
    "AttentionShape",
    "Experts",
    "Linear",
    "Norm",
    "Product",
    "Residual",
    "cache_bytes",
    "is_supported",
    "matrix",
    "vector",
]

STORE, ADD = lib.LK_STORE, lib.LK_ADD
SWIGLU, GEGLU, GELU = lib.LK_SWIGLU, lib.LK_GEGLU, lib.LK_GELU
SWIGLU_OAI = lib.LK_SWIGLU_OAI
NORM_RMS, NORM_LAYER = lib.LK_NORM_RMS, lib.LK_NORM_LAYER
ROPE_NONE, ROPE_ADJACENT, ROPE_HALF = lib.LK_ROPE_NONE, lib.LK_ROPE_ADJACENT, lib.LK_ROPE_HALF
F32, F16, Q8_0 = lib.LK_F32, lib.LK_F16, lib.LK_Q8_0


@cache
def is_supported(kind: GGMLType) -> bool:
    """Whether there are kernels for a weight type."""
    return not lib.lk_type_block(int(kind), ffi.new("int32_t *"), ffi.new("int32_t *"))


def matrix(tensor: Tensor, bias: Tensor | None = None) -> dict[str, Any]:
    """Describe a 2-D weight (rows of shape[0] values, shape[1] rows) and its bias for C."""
    n_rows = tensor.shape[1]
    if bias is not None and bias.shape != (n_rows,):
        raise InvalidArgumentError(f"{bias.name}: shape {bias.shape} instead of ({n_rows},)")
    return {
        "data": ffi.cast("void *", tensor.address),
        "bias": vector(bias) if bias is not None else ffi.NULL,
        "row_bytes": tensor.row_nbytes,
        "type": int(tensor.type),
        "n_rows": n_rows,
    }


def vector(tensor: Tensor) -> Any:
    """Pointer to a 1-D float32 tensor."""
    if int(tensor.type) != F32:
        raise UnsupportedError(f"{tensor.name}: 1-D tensors must be F32, not {tensor.type.name}")
    return ffi.cast("float *", tensor.address)


@dataclass(frozen=True)
class Norm:
    """A norm over the last dimension.

    Attributes:
        weight: (n), a factor of each value.
        eps: added to the mean square, or to the variance.
        kind: NORM_RMS (Zhang and Sennrich 2019) or NORM_LAYER (Ba et al. 2016).
        bias: (n), added at last, of a NORM_LAYER.
    """

    weight: Tensor
    eps: float
    kind: int = NORM_RMS
    bias: Tensor | None = None

    @property
    def tensors(self) -> list[Tensor]:
        """What it reads."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


def _norm(norm: Norm | None) -> dict[str, Any]:
    """Describe a norm, or none, for C."""
    if norm is None:
        return {}
    if norm.bias is not None and norm.bias.shape != norm.weight.shape:
        raise InvalidArgumentError(f"{norm.bias.name}: not of the shape {norm.weight.shape}")
    bias = vector(norm.bias) if norm.bias is not None else ffi.NULL
    return {"weight": vector(norm.weight), "bias": bias, "eps": norm.eps, "kind": norm.kind}


def _whole(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    """The tensors of the file that some tensors, or parts of them, lie in; each once."""
    return list({t.name: t.whole or t for t in tensors if t is not None}.values())


class Linear:
    """``y_i = epilogue(W_i norm(x) + b_i)`` for up to three matrices that share their input.

    Args:
        weights: the W_i, each of shape (k, n_rows_i) in GGUF's order (fastest first).
        biases: the b_i (n_rows_i) or None, as many as weights.
        norm: applied to x first.
        epilogue: STORE, ADD (y += W x), GELU (y = gelu(W x)), SWIGLU (y = silu(W_0 x) * (W_1 x))
            or GEGLU (y = gelu(W_0 x) * (W_1 x)), or SWIGLU_OAI, gpt-oss' (``csrc/lk_api.h``).

    Attributes:
        tensors: of the file, that it reads: matrices first.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None] | None = None,
        *,
        norm: Norm | None = None,
        epilogue: int = STORE,
    ) -> None:
        given = biases or [None] * len(weights)
        self.tensors = _whole([*weights, *given, *(norm.tensors if norm else [])])
        self.struct = ffi.new(
            "lk_linear *",
            {
                "w": [matrix(w, b) for w, b in zip(weights, given, strict=True)],
                "norm": _norm(norm),
                "n_w": len(weights),
                "k": weights[0].shape[0],
                "epilogue": epilogue,
            },
        )
        check(lib.lk_linear_check(self.struct), f"prepare {weights[0].name}")

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a call needs."""
        return int(lib.lk_linear_scratch(self.struct, n_tokens, n_threads))

    @property
    def nbytes_per_token(self) -> int:
        """Bytes of weights that a token reads."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def weights_per_token(self) -> int:
        """Weights of matrices that a token is multiplied with."""
        return sum(tensor.n_elements for tensor in self.tensors if len(tensor.shape) > 1)


class Experts:
    """A mixture of experts: ``x += sum of w_e (D_e f(G_e x', U_e x') + b_e)``.

    Shazeer et al. 2017, "Outrageously Large Neural Networks". x' is norm(x), the e are the `n_used`
    experts with the largest of the token's logits, and the w_e their softmax. Only their weights
    are read.

    Args:
        gate: the G_e (n_embd, n_ff, n_expert).
        up: the U_e, likewise.
        down: the D_e (n_ff, n_embd, n_expert).
        biases: of gate and up (n_ff, n_expert), and of down, the b_e (n_embd, n_expert), or None.
        norm: applied to x first.
        epilogue: f: SWIGLU, GEGLU or SWIGLU_OAI.
        n_used: experts that a token is given to.
        weights_norm: whether the w_e are divided by their sum.
        weights_scale: a factor of the w_e.

    Attributes:
        tensors: of the file, that it reads: matrices first.
        chosen: those of them of which a token reads its experts' part, a slice of the last axis.
    """

    def __init__(
        self,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
        biases: Sequence[Tensor | None] = (None, None, None),
        *,
        norm: Norm | None = None,
        epilogue: int = SWIGLU,
        n_used: int,
        weights_norm: bool = True,
        weights_scale: float = 1.0,
    ) -> None:
        self.chosen = _whole([gate, up, down, *biases])
        self.tensors = [*self.chosen, *(norm.tensors if norm else [])]
        self._matrices = gate, up, down
        self.n_embd, self.n_ff, self.n_expert = gate.shape
        self.n_used = n_used
        if up.shape != gate.shape or down.shape != (self.n_ff, self.n_embd, self.n_expert):
            raise InvalidArgumentError(
                f"{gate.name} {gate.shape}, {up.name} {up.shape} and {down.name} {down.shape} do"
                " not fit together"
            )
        names = ("gate", "up", "down")
        given = zip(names, self._matrices, biases, strict=True)
        self.struct = ffi.new(
            "lk_experts *",
            {
                **{name: _first_expert(w, bias) for name, w, bias in given},
                "norm": _norm(norm),
                "n_embd": self.n_embd,
                "n_ff": self.n_ff,
                "n_expert": self.n_expert,
                "n_used": n_used,
                "epilogue": epilogue,
                "weights_norm": weights_norm,
                "weights_scale": weights_scale,
            },
        )
        check(lib.lk_experts_check(self.struct), f"prepare {gate.name}")

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a call needs."""
        return int(lib.lk_experts_scratch(self.struct, n_tokens, n_threads))

    @property
    def nbytes_per_token(self) -> int:
        """Bytes of weights that a token reads."""
        chosen = sum(tensor.nbytes for tensor in self.chosen)
        others = sum(tensor.nbytes for tensor in self.tensors) - chosen
        return chosen // self.n_expert * self.n_used + others

    @property
    def weights_per_token(self) -> int:
        """Weights of matrices that a token is multiplied with."""
        return sum(matrix.n_elements for matrix in self._matrices) // self.n_expert * self.n_used


Product = Linear | Experts  # the ops that multiply with weights


def _first_expert(tensor: Tensor, biases: Tensor | None) -> dict[str, Any]:
    """Describe the first of many matrices, and of their biases, for C."""
    if biases is None:
        return matrix(tensor)
    if biases.shape != tensor.shape[1:]:
        raise InvalidArgumentError(f"{biases.name}: shape {biases.shape}, not {tensor.shape[1:]}")
    return matrix(tensor) | {"bias": vector(biases)}


class Residual:
    """``x += scale * norm(y)``: what a part of a block gives, into the residual stream.

    Args:
        n: columns of x and y.
        norm: applied to y first.
        scale: a factor of what is added.
    """

    def __init__(self, n: int, *, norm: Norm | None = None, scale: float = 1.0) -> None:
        self.tensors = norm.tensors if norm else []
        self.struct = ffi.new("lk_residual *", {"norm": _norm(norm), "n": n, "scale": scale})
        check(lib.lk_residual_check(self.struct), "prepare a residual")


@dataclass(frozen=True)
class AttentionShape:
    """What attention needs to know of a model and its cache; names as in the GGUF keys.

    Attributes:
        window: how many positions a token sees, its own included; 0: all before it.
        softcap: each score s is ``softcap * tanh(s / softcap)``; 0: s.
    """

    n_head: int
    n_kv_head: int
    head_dim_k: int
    head_dim_v: int
    n_rot: int
    rope_kind: int
    cache_type: int
    n_seq: int
    n_ctx: int
    scale: float
    window: int = 0
    softcap: float = 0.0


class Attention:
    """Causal attention over a KV cache of n_seq sequences and n_kv_head heads.

    Args:
        shape: sizes and constants.
        q_norm: applied to each head of q before it is rotated: its weight is (head_dim_k); or to
            all heads of a token together, (n_head * head_dim_k).
        k_norm: the same of k.
        sinks: (n_head) a score of each head that is one more term of the softmax, and whose value
            is zero (Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks").
    """

    def __init__(
        self,
        shape: AttentionShape,
        q_norm: Norm | None = None,
        k_norm: Norm | None = None,
        sinks: Tensor | None = None,
    ) -> None:
        self.tensors = [*(q_norm.tensors if q_norm else []), *(k_norm.tensors if k_norm else [])]
        self.tensors += [sinks] if sinks is not None else []
        rows = [
            norm.weight.shape != (shape.head_dim_k,)
            for norm in (q_norm, k_norm)
            if norm is not None
        ]
        norms = {"norm_rows": any(rows), "q_norm": _norm(q_norm), "k_norm": _norm(k_norm)}
        if sinks is not None:
            if sinks.shape != (shape.n_head,):
                raise InvalidArgumentError(f"{sinks.name}: not of the shape ({shape.n_head},)")
            norms["sinks"] = vector(sinks)
        self.struct = ffi.new("lk_attention *", vars(shape) | norms)
        check(lib.lk_attention_check(self.struct), "prepare attention")

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a call needs."""
        return int(lib.lk_attention_scratch(self.struct, n_tokens, n_threads))


def cache_bytes(cache_type: int, head_dims: tuple[int, int], n: int) -> tuple[int, int]:
    """Bytes that the keys, and the values, of `n` positions of one head take."""
    k_dim, v_dim = head_dims
    return (
        int(lib.lk_cache_keys(cache_type, k_dim, n)),
        int(lib.lk_cache_values(cache_type, v_dim, n)),
    )
