"""What is kept and what is streamed: all of it, within the budget, evenly spread."""

from __future__ import annotations

import numpy as np
import pytest

from llamacpp.errors import InvalidArgumentError
from llamacpp.format.types import GGMLType
from llamacpp.residency.plan import PAGE, SLOTS, plan
from llamacpp.tensors import Tensor

ROW = 1024  # bytes of a row of 256 floats


def tensor(name: str, rows: int) -> Tensor:
    return Tensor.from_buffer(name, GGMLType.F32, (256, rows), bytes(rows * ROW))


LAYERS = [tensor(f"{i}.{part}", rows) for i in range(24) for part, rows in enumerate((8, 3, 24))]
TOTAL = sum(t.nbytes for t in LAYERS)
NORM = tensor("norm", 1)
SLOT = -(-(24 * ROW + PAGE - 1) // PAGE) * PAGE


def test_what_fits_is_kept() -> None:
    chosen = plan(LAYERS, [NORM], TOTAL + NORM.nbytes)
    assert chosen.streamed == ()
    assert (chosen.kept_bytes, chosen.streamed_bytes) == (TOTAL + NORM.nbytes, 0)
    assert chosen.window_bytes == 0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.85])
def test_within_the_budget_and_no_less_than_it_allows(share: float) -> None:
    budget = NORM.nbytes + SLOTS * SLOT + int(share * TOTAL)
    chosen = plan(LAYERS, [NORM], budget)
    assert chosen.slot_bytes == SLOT
    assert chosen.kept_bytes + chosen.streamed_bytes == TOTAL + NORM.nbytes
    assert sum(t.nbytes for t in chosen.streamed) == chosen.streamed_bytes
    used = chosen.kept_bytes + chosen.window_bytes
    assert budget - 24 * ROW <= used <= budget
    names = [t.name for t in LAYERS]
    assert [names.index(t.name) for t in chosen.streamed] == sorted(
        names.index(t.name) for t in chosen.streamed
    )


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_disk_has_work_all_along(share: float) -> None:
    chosen = plan(LAYERS, [], SLOTS * SLOT + int(share * TOTAL))
    streamed = {t.name for t in chosen.streamed}
    passed, read, ahead = 0, 0, []
    for t in LAYERS:
        passed += t.nbytes
        read += t.nbytes * (t.name in streamed)
        ahead.append(read - passed * chosen.streamed_bytes / TOTAL)
    assert np.ptp(ahead) <= 2 * max(t.nbytes for t in LAYERS)


def test_too_little_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(InvalidArgumentError, match=r"raise memory_limit"):
        plan(LAYERS, [NORM], NORM.nbytes + SLOTS * SLOT - 1)
