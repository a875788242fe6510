"""Which weights are kept in memory and which pass through the window, for a given budget.

Every token needs all S bytes of the matrices once, in one order. A cache that drops the least
recently used page gets nothing from such a cyclic scan: it always drops what is needed next, so a
token takes S / B at a disk that reads B bytes per second. With a kept set of P bytes it takes
(S - P) / B, whichever weights they are. Those that are not kept are spread evenly over the pass,
so that the disk reads while the kept ones are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llamacpp.errors import InvalidArgumentError
from llamacpp.tensors import Tensor

__all__ = ["SLOTS", "Plan", "plan"]

SLOTS = 4  # tensors that the window holds at a time: in use, complete, and two being read
PAGE = 4096


@dataclass(frozen=True)
class Plan:
    """What becomes of the weights.

    Attributes:
        streamed: the tensors that pass through the window, in the order of use.
        kept_bytes: all other weights.
        streamed_bytes: what every pass reads from the file.
        slot_bytes: size of a slot of the window; 0 if nothing is streamed.
    """

    streamed: tuple[Tensor, ...]
    kept_bytes: int
    streamed_bytes: int
    slot_bytes: int

    @property
    def window_bytes(self) -> int:
        """Memory of the window."""
        return SLOTS * self.slot_bytes


def plan(matrices: Sequence[Tensor], always: Iterable[Tensor], budget: int) -> Plan:
    """Choose what to keep.

    Args:
        matrices: those that may be streamed, in the order of use.
        always: other weights, which are kept whatever the budget.
        budget: bytes that weights and window may take.

    Raises:
        InvalidArgumentError: not even the window and what must be kept fit.
    """
    total = sum(tensor.nbytes for tensor in matrices)
    needed = sum(tensor.nbytes for tensor in always)
    if needed + total <= budget:
        return Plan((), needed + total, 0, 0)
    slot = max(_slot_bytes(tensor) for tensor in matrices)
    room = budget - needed - SLOTS * slot  # for the kept part
    if room < 0:
        least = needed + SLOTS * slot
        raise InvalidArgumentError(
            f"{budget / 2**20:.0f} MiB are left for weights, but {least / 2**20:.0f} MiB are the"
            " least: a window, and what every token needs; raise memory_limit, or ask for a smaller"
            " n_ctx"
        )
    streamed, passed, chosen = [], 0, 0
    for tensor in matrices:  # as Bresenham draws a line of this slope
        passed += tensor.nbytes
        if (chosen + tensor.nbytes / 2) * total <= passed * (total - room):
            streamed.append(tensor)
            chosen += tensor.nbytes
    while total - chosen > room:  # rounding kept too much: the smallest that suffices goes too
        left = [t for t in matrices if t not in streamed]
        excess = total - chosen - room
        enough = [t for t in left if t.nbytes >= excess]
        tensor = min(enough or left, key=lambda t: t.nbytes if enough else -t.nbytes)
        streamed.append(tensor)
        chosen += tensor.nbytes
    order = {id(tensor): i for i, tensor in enumerate(matrices)}
    streamed.sort(key=lambda tensor: order[id(tensor)])
    return Plan(tuple(streamed), needed + total - chosen, chosen, slot)


def _slot_bytes(tensor: Tensor) -> int:
    """Whole pages that hold a tensor wherever it starts in the first of them."""
    return (tensor.nbytes + 2 * PAGE - 2) // PAGE * PAGE
