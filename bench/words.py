"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: 1 thread, 2 threads."""
    return f"{n} {noun}" + "s" * (n != 1)
