"""`Llama`: the face that llama-cpp-python users know, over the engine."""

from __future__ import annotations

from llamacpp.api.llama import Llama

__all__ = ["Llama"]
