"""Old blocks rewritten as today's: the codes keep their values, scales become float16.

Q5_0 and Q5_1 lose nothing. The scales and minima of Q4_0, Q4_1 and Q8_0 were float32, and are
rounded to the nearest float16: by at most 2^-11 of themselves, or 2^-25 where they are below 2^-14.
For Q4_2 and Q4_3, two of which share 32 elements with scales of their own, there is no block today:
each value is computed exactly and rounded to the nearest float16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from llamacpp.errors import FormatError
from llamacpp.format.legacy.layouts import OldType
from llamacpp.format.types import GGMLType

__all__ = ["rewrite"]

Bytes = npt.NDArray[np.uint8]

_FIELDS: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
    "Q4_0": [("d", "<f4", ()), ("codes", "u1", (16,))],
    "Q4_1": [("d", "<f4", ()), ("m", "<f4", ()), ("codes", "u1", (16,))],
    "Q4_2": [("d", "<f2", ()), ("codes", "u1", (8,))],
    "Q4_3": [("d", "<f2", ()), ("m", "<f2", ()), ("codes", "u1", (8,))],
    "Q5_0": [("d", "<f2", ()), ("high", "u1", (4,)), ("codes", "u1", (16,))],
    "Q5_1": [("d", "<f2", ()), ("m", "<f2", ()), ("high", "u1", (4,)), ("codes", "u1", (16,))],
    "Q8_0": [("d", "<f4", ()), ("codes", "u1", (32,))],
}


def rewrite(data: Bytes, kind: OldType) -> Bytes:
    """Turn whole blocks of an old type into the bytes of its target.

    Raises:
        FormatError: a number is not finite, or too large for float16.
    """
    fields = _FIELDS[kind.name]
    old = data.reshape(-1).view(np.dtype(fields))
    if kind.target is GGMLType.F16:
        return _halves(_values(old), kind).view(np.uint8)
    new = np.empty(len(old), [(name, type_.replace("f4", "f2"), n) for name, type_, n in fields])
    for name, *_ in fields:
        if name in ("d", "m"):
            new[name] = _halves(old[name], kind)
        elif name == "codes" and kind.interleaved:
            new[name] = _side_by_side(old[name])
        else:
            new[name] = old[name]
    return new.view(np.uint8)


def _values(old: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The values of Q4_2 and Q4_3 blocks, exact."""
    codes = _neighbours(old["codes"]).astype(np.float64)
    d = old["d"].astype(np.float64)[:, None]
    has_min = "m" in (old.dtype.names or ())
    return codes * d + old["m"].astype(np.float64)[:, None] if has_min else (codes - 8) * d


def _neighbours(packed: Bytes) -> Bytes:
    """Codes of interleaved nibbles, one a byte."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)


def _side_by_side(packed: Bytes) -> Bytes:
    """Interleaved nibbles in today's order: the first half of the elements low, the second high."""
    low, high = np.split(_neighbours(packed), 2, axis=1)
    both: Bytes = low | high << np.uint8(4)
    return both


def _halves(values: npt.NDArray[Any], kind: OldType) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore", invalid="ignore"):
        halves = values.astype("<f2")
    if not np.isfinite(halves).all():
        raise FormatError(
            f"a {kind.name} block has a scale that no weights have: the file is damaged, or of "
            "early March 2023, with rows laid out in yet another way, which cannot be converted"
        )
    return halves
