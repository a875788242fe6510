"""Zero-copy, measured: what a process keeps for itself of a model of 1.1 billion weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamacpp.format.types import GGMLType
from llamacpp.format.writer import GGUFWriter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")

N_EMBD, N_FF, N_LAYER, N_HEAD, N_KV, N_VOCAB = 2048, 5632, 22, 32, 4, 32000  # TinyLlama's shape
MiB = 1 << 20

SCRIPT = """
import json, sys
from llamacpp.engine import Model

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

model = Model.open(sys.argv[1], n_threads=2)
session = model.session(2048)
session.eval(range(100))
for token in range(3):
    session.eval([token])
cache = session.cache
print(json.dumps({
    "anonymous": anonymous(),
    "cache": cache.nbytes * session.n_past // session.n_ctx,
    "copied": model.copied_weight_bytes,
}))
"""


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file of that shape in Q4_0, all zero: 0.6 GB, removed after the test."""
    path = tmp_path / "1b.gguf"
    shapes = {"token_embd": (N_EMBD, N_VOCAB), "output": (N_EMBD, N_VOCAB)}
    vectors = ["output_norm"]
    for i in range(N_LAYER):
        kv = N_EMBD // N_HEAD * N_KV
        for name, n in (("attn_q", N_EMBD), ("attn_k", kv), ("attn_v", kv)):
            shapes[f"blk.{i}.{name}"] = (N_EMBD, n)
        shapes[f"blk.{i}.attn_output"] = (N_EMBD, N_EMBD)
        shapes[f"blk.{i}.ffn_gate"] = shapes[f"blk.{i}.ffn_up"] = (N_EMBD, N_FF)
        shapes[f"blk.{i}.ffn_down"] = (N_FF, N_EMBD)
        vectors += [f"blk.{i}.attn_norm", f"blk.{i}.ffn_norm"]
    with GGUFWriter(path) as writer:
        writer.add("general.architecture", "llama")
        for key, value in {
            "context_length": 2048,
            "embedding_length": N_EMBD,
            "block_count": N_LAYER,
            "feed_forward_length": N_FF,
            "attention.head_count": N_HEAD,
            "attention.head_count_kv": N_KV,
            "attention.layer_norm_rms_epsilon": 1e-5,
        }.items():
            writer.add(f"llama.{key}", value)
        for name, shape in shapes.items():
            writer.add_tensor(f"{name}.weight", GGMLType.Q4_0, shape)
        for name in vectors:
            writer.add_tensor(f"{name}.weight", GGMLType.F32, (N_EMBD,))
        for name, (k, rows) in shapes.items():
            row = bytes(GGMLType.Q4_0.row_nbytes(k))
            writer.write_tensor(f"{name}.weight", (row for _ in range(rows)))
        for name in vectors:
            writer.write_tensor(f"{name}.weight", bytes(4 * N_EMBD))
    yield path
    path.unlink()


def test_private_memory_is_the_kv_cache_and_little_else(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    seen = json.loads(run.stdout)
    assert seen["copied"] == 0
    # The interpreter and NumPy are in this too.
    assert seen["anonymous"] < seen["cache"] + 64 * MiB
    assert path.stat().st_size > 600e6
