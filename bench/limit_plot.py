"""Speed over the memory limit: what was measured, and the two formulas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.plot_style import colours, figure

if TYPE_CHECKING:
    from bench.out_of_core import Result

__all__ = ["draw"]


def draw(results: Sequence[Result], path: Path) -> None:
    """Write a PNG: a line per engine, and the limits S / B and (S - P) / B."""
    rate = sum(r.disk_bytes_per_second for r in results) / len(results)
    total = results[0].weight_bytes
    limits = sorted({r.limit for r in results})
    names = colours(list(dict.fromkeys(r.engine for r in results)))
    drawn, axes = figure(
        "Decoding a model larger than memory",
        f"{total / 1e9:.1f} GB of weights a token, a disk of {rate / 1e9:.2f} GB/s",
        names, 1, (7.4, 4.4),
    )  # fmt: skip
    panel = axes[0]
    fine = [limits[0] + (limits[-1] - limits[0]) * i / 100 for i in range(101)]
    kept = [rate / max(total - limit, total / 100) for limit in fine]
    gib = 2**30
    panel.plot([x / gib for x in fine], kept, "k--", label="a kept set: B / (S - P)")
    panel.axhline(rate / total, color="k", linestyle=":", label="least recently used: B / S")
    for name, colour in names.items():
        points = [(r.limit / gib, r.tokens_per_second) for r in results if r.engine == name]
        known = [(x, y) for x, y in points if y is not None]
        if known:
            panel.plot(*zip(*known, strict=True), "o-", color=colour)
    panel.set_xlabel("memory limit, GiB")
    panel.set_ylabel("tokens per second")
    panel.set_ylim(bottom=0)
    panel.legend()
    drawn.savefig(path, dpi=150)
