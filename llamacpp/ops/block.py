"""Ops that follow each other, in one call."""

from __future__ import annotations

from typing import Any

from llamacpp._native import check, ffi, lib
from llamacpp.buffers import Buffer, Work
from llamacpp.ops.operands import Attention, Experts, Linear, Residual
from llamacpp.tensors import Tensor

__all__ = ["Block"]


class Block:
    """Ops that follow each other, prepared once and run by one call: a transformer block.

    Every method that adds an op takes buffers of which the call's `n` tokens use the first n rows.
    """

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []
        self._struct: Any = ffi.NULL
        self._alive: list[Any] = []  # what the C structs point to
        self._failed = ffi.new("int32_t *")
        self._ops: list[Linear | Attention | Experts] = []
        self.names: list[str] = []  # of the ops, for messages and profiles
        self.tensors: list[list[Tensor]] = []  # of each op

    def linear(self, op: Linear, x: Buffer, *y: Buffer) -> Block:
        """Add a `Linear`: x (n, k), y_i (n, n_rows_i)."""
        arguments = {"op": op.struct, "x": x.ptr, "y": [buffer.ptr for buffer in y]}
        self._ops.append(op)
        return self._add(op.tensors[0].name, "linear", arguments, op.tensors, (op, x, *y))

    def attention(
        self,
        op: Attention,
        qkv: tuple[Buffer, Buffer, Buffer],
        out: Buffer,
        caches: tuple[Any, Any],
        angles: Buffer | None = None,
    ) -> Block:
        """Add an `Attention`: norm and rotate q and k in place, append to the cache, attend.

        Args:
            op: the prepared shape.
            qkv: q (n, n_head * head_dim_k), k and v (n, n_kv_head * their head size).
            out: (n, n_head * head_dim_v).
            caches: addresses of one layer's keys and values.
            angles: (n, n_rot) as `rope_angles` fills them, where there is something to rotate.
        """
        q, k, v = qkv
        arguments = {"op": op.struct, "q": q.ptr, "k": k.ptr, "v": v.ptr, "out": out.ptr}
        arguments |= {"k_cache": caches[0], "v_cache": caches[1]}
        arguments["angles"] = angles.ptr if angles else ffi.NULL
        self._ops.append(op)
        alive = (op, *qkv, out, caches, angles)
        return self._add("attention", "attention", arguments, op.tensors, alive)

    def experts(self, op: Experts, logits: Buffer, x: Buffer) -> Block:
        """Add `Experts`: logits (n, op.n_expert) choose, x (n, op.n_embd)."""
        arguments = {"op": op.struct, "logits": logits.ptr, "x": x.ptr}
        self._ops.append(op)
        return self._add(op.tensors[0].name, "experts", arguments, op.tensors, (op, logits, x))

    def residual(self, op: Residual, y: Buffer, x: Buffer, gate: Buffer | None = None) -> Block:
        """Add a `Residual`: x and y (n, op.n); y is overwritten.

        Where there is a gate (n, 1), what is added is multiplied by its sigmoid.
        """
        arguments = {"op": op.struct, "y": y.ptr, "x": x.ptr}
        arguments["gate"] = gate.ptr if gate else ffi.NULL
        return self._add("residual", "residual", arguments, op.tensors, (op, y, x, gate))

    def _add(
        self,
        name: str,
        kind: str,
        arguments: dict[str, Any],
        tensors: list[Tensor],
        alive: tuple[Any, ...],
    ) -> Block:
        number = getattr(lib, f"LK_STEP_{kind.upper()}")
        self._steps.append({"kind": number, kind: arguments})
        self._struct = ffi.new("lk_step[]", self._steps)
        self._alive.extend(alive)
        self.names.append(name)
        self.tensors.append(tensors)
        return self

    def scratch(self, n_tokens: int, n_threads: int) -> int:
        """Bytes of scratch that a run needs."""
        return max((op.scratch(n_tokens, n_threads) for op in self._ops), default=0)

    def run(self, batch: Any, work: Work) -> None:
        """Run all ops on the tokens of an ``lk_batch *``."""
        status = lib.lk_block_run(self._struct, len(self.names), batch, work.struct, self._failed)
        if status:
            check(status, self.names[self._failed[0]])

    def run_one(self, index: int, batch: Any, work: Work) -> None:
        """Run one of the ops, as `run` does: for those who measure, or wait for weights."""
        step = self._struct + index
        check(lib.lk_block_run(step, 1, batch, work.struct, self._failed), self.names[index])

    def linear_step(self, index: int) -> Any:
        """The prepared call of op `index`, with its input `x`; None if it is no `Linear`."""
        step = self._struct[index]
        return step.linear if step.kind == lib.LK_STEP_LINEAR else None

    def experts_step(self, index: int) -> Any:
        """As `linear_step`, of `Experts`."""
        step = self._struct[index]
        return step.experts if step.kind == lib.LK_STEP_EXPERTS else None
