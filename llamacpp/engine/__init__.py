"""Running a model: `Model` (immutable, shared by threads) and `Session` (a KV cache, one owner)."""

from __future__ import annotations

from llamacpp.engine.model import Model
from llamacpp.engine.session import Session

__all__ = ["Model", "Session"]
