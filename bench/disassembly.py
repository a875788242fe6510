"""Whether the compiler left the probe of 8-bit products as it is meant to be.

A peak is only a peak if the loop does nothing else: a sum that the compiler keeps in memory instead
of a register can halve it, and equal sums that it finds to be one inflate it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EXPECTED", "Loop", "NoDisassemblyError", "check", "inner_loop"]

# The instructions of a round, and how many of them, by level; the first is the product itself.
EXPECTED: dict[str, dict[str, int]] = {
    "avx2": {"vpmaddubsw": 32, "vpmaddwd": 4, "vpaddd": 4},
    "avx_vnni": {"vpdpbusd": 12},
    "avx512": {"vpdpbusd": 16},
    "neon": {"smlal2": 64, "smlal": 56, "smull": 8, "sadalp": 8},
    "neon_dot": {"sdot": 16},
    "neon_i8mm": {"usmmla": 16},
}
# Levels whose product adds to a sum in place: each needs a register of its own.
IN_PLACE = ("avx_vnni", "avx512", "neon_dot", "neon_i8mm")
_INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t(?:\{vex\} )?(\S+)[ \t]*(.*?)[ \t]*(?://.*)?$", re.M)
_TARGET = re.compile(r"\b([0-9a-f]+) <")


class NoDisassemblyError(Exception):
    """There is nothing to look at, and the message says why."""


@dataclass(frozen=True)
class Loop:
    """The innermost loop of a kernel: its instructions, as (mnemonic, operands)."""

    instructions: list[tuple[str, str]]

    @property
    def counts(self) -> Counter[str]:
        """How often each mnemonic occurs."""
        return Counter(mnemonic for mnemonic, _ in self.instructions)

    def problems(self, level: str) -> list[str]:
        """What is wrong with it as the loop of `probe_int8` at a level."""
        found = []
        counts, expected = self.counts, EXPECTED[level]
        unrolled = {counts[name] / number for name, number in expected.items()}
        if len(unrolled) > 1 or not unrolled.pop().is_integer():
            seen = ", ".join(f"{counts[name]} {name}" for name in expected)
            meant = ", ".join(f"{number} {name}" for name, number in expected.items())
            found.append(f"{seen} instead of {meant}, or a multiple")
        for mnemonic, operands in self.instructions:
            if "(" in operands or "[" in operands:
                found.append(f"memory is touched: {mnemonic} {operands}")
        product = next(iter(expected))
        sums = {_destination(ops) for name, ops in self.instructions if name == product}
        if level in IN_PLACE and len(sums) != expected[product]:
            found.append(f"{len(sums)} registers for sums instead of {expected[product]}")
        return found


def _destination(operands: str) -> str:
    """The register that an instruction writes: AT&T's order on x86, where registers have a %."""
    parts = operands.split(",")
    return parts[-1] if "%" in operands else parts[0].split(".")[0]


def check(library: Path, level: str, objdump: str = "objdump") -> Loop:
    """The loop of `probe_int8` at a level, in a library or program that has its symbols.

    Raises:
        NoDisassemblyError: no objdump, no such kernel, no symbols, or no loop in it.
    """
    if shutil.which(objdump) is None:
        raise NoDisassemblyError(f"{objdump} is not installed: it comes with binutils")
    symbol = f"probe_int8_{level}"
    command = [objdump, "-d", "--no-show-raw-insn", f"--disassemble={symbol}", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoDisassemblyError(done.stderr.strip())
    if f"<{symbol}>:" not in done.stdout:
        raise NoDisassemblyError(f"{library.name} has no symbol {symbol}")
    return inner_loop(done.stdout, next(iter(EXPECTED[level])))


def inner_loop(listing: str, mnemonic: str) -> Loop:
    """The shortest loop of a listing by objdump that has an instruction in it.

    Raises:
        NoDisassemblyError: there is none.
    """
    lines = [(int(at, 16), name, rest) for at, name, rest in _INSTRUCTION.findall(listing)]
    loops = []
    for at, name, rest in lines:
        target = _TARGET.search(rest)
        if target is None or not name.startswith(("j", "b.", "cb", "tb", "b")):
            continue
        begin = int(target[1], 16)
        body = [(n, operands) for address, n, operands in lines if begin <= address <= at]
        if begin <= at and any(n == mnemonic for n, _ in body):
            # A jump's own target is no memory that is touched.
            loops.append([(n, "" if _TARGET.search(o) else o) for n, o in body])
    if not loops:
        raise NoDisassemblyError(f"there is no loop with {mnemonic}")
    return Loop(min(loops, key=len))
