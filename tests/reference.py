"""An independent float64 forward pass of the `llama` architecture, straight from the papers.

Weights are read and dequantised by the `gguf` package; nothing of llamacpp is used.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


class ReferenceModel:
    """All weights in float64, by name: matrices as (rows, columns)."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.fields = {key: field.contents() for key, field in reader.fields.items()}
        self.w = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type)
            .astype(np.float64)
            .reshape(t.shape[::-1])
            for t in reader.tensors
        }
        self.n_head = int(self.fields["llama.attention.head_count"])
        self.n_kv_head = int(self.fields.get("llama.attention.head_count_kv", self.n_head))
        n_embd = int(self.fields["llama.embedding_length"])
        self.head_dim = int(self.fields.get("llama.attention.key_length", n_embd // self.n_head))
        self.n_rot = int(self.fields.get("llama.rope.dimension_count", self.head_dim))
        self.eps = float(self.fields["llama.attention.layer_norm_rms_epsilon"])
        base = float(self.fields.get("llama.rope.freq_base", 10000.0))
        self.freq = base ** (-np.arange(0, self.n_rot, 2) / self.n_rot)
        self.freq /= float(self.fields.get("llama.rope.scaling.factor", 1.0))
        if "rope_freqs.weight" in self.w:
            self.freq /= self.w["rope_freqs.weight"]

    def norm(self, x: Float64Array, name: str) -> Float64Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name + ".weight"]

    def linear(self, x: Float64Array, name: str) -> Float64Array:
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def rope(self, x: Float64Array) -> Float64Array:
        """Rotate adjacent pairs of x (T, heads, head_dim) by position."""
        angle = np.outer(np.arange(len(x)), self.freq)[:, None, :]
        even, odd = x[..., 0 : self.n_rot : 2], x[..., 1 : self.n_rot : 2]
        out = x.copy()
        out[..., 0 : self.n_rot : 2] = even * np.cos(angle) - odd * np.sin(angle)
        out[..., 1 : self.n_rot : 2] = even * np.sin(angle) + odd * np.cos(angle)
        return out

    def attention(self, x: Float64Array, prefix: str) -> Float64Array:
        n = len(x)
        q = self.rope(self.linear(x, prefix + "attn_q").reshape(n, self.n_head, -1))
        k = self.rope(self.linear(x, prefix + "attn_k").reshape(n, self.n_kv_head, -1))
        v = self.linear(x, prefix + "attn_v").reshape(n, self.n_kv_head, -1)
        k, v = (np.repeat(a, self.n_head // self.n_kv_head, axis=1) for a in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(self.head_dim)
        scores[:, np.triu(np.ones((n, n), dtype=bool), 1)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", p, v).reshape(n, -1)

    def logits(self, tokens: list[int]) -> Float64Array:
        """Logits (T, n_vocab) of one sequence."""
        x = self.w["token_embd.weight"][tokens]
        for i in range(int(self.fields["llama.block_count"])):
            p = f"blk.{i}."
            heads = self.attention(self.norm(x, p + "attn_norm"), p)
            x = x + self.linear(heads, p + "attn_output")
            h = self.norm(x, p + "ffn_norm")
            gate, up = self.linear(h, p + "ffn_gate"), self.linear(h, p + "ffn_up")
            x = x + self.linear(gate / (1 + np.exp(-gate)) * up, p + "ffn_down")
        name = "output" if "output.weight" in self.w else "token_embd"
        return self.linear(self.norm(x, "output_norm"), name)


def nmse(got: npt.ArrayLike, want: Float64Array) -> float:
    """Normalised mean squared error: |got - want|^2 / |want|^2."""
    difference = np.asarray(got, dtype=np.float64) - want
    return float((difference * difference).sum() / (want * want).sum())
