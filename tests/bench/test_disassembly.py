"""What counts as a loop, and what is found wrong with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.disassembly import EXPECTED, Loop, NoDisassemblyError, check, inner_loop

LISTING = """
probe.o:     file format elf64-x86-64

0000000000000010 <probe_int8_avx512>:
  10:	vmovdqu (%rdi),%ymm0
  14:	jmp    30 <probe_int8_avx512+0x20>
  18:	vpdpbusd %zmm1,%zmm0,%zmm2
  1e:	add    $0x1,%rax
  22:	vpdpbusd %zmm1,%zmm0,%zmm17
  28:	cmp    %rax,%rdx
  2b:	jne    18 <probe_int8_avx512+0x8>
  30:	dec    %rcx
  34:	jg     14 <probe_int8_avx512+0x4>
  38:	ret
"""
ARM = """
0000000000000000 <probe_int8_neon_dot>:
   0:	ldp	q1, q0, [x0]
   4:	nop
   8:	sdot	v0.4s, v1.16b, v2.16b
   c:	sdot	v31.4s, v3.16b, v4.16b
  10:	subs	x1, x1, #0x1
  14:	b.ne	8 <probe_int8_neon_dot+0x8>  // b.any
  18:	ret
"""
GOOD = [("vpdpbusd", f"%zmm1,%zmm0,%zmm{i}") for i in range(2, 18)] + [("cmp", "%rax,%rdx")]


def test_the_innermost_loop_with_the_instruction_is_found() -> None:
    loop = inner_loop(LISTING, "vpdpbusd")
    assert [name for name, _ in loop.instructions] == ["vpdpbusd", "add", "vpdpbusd", "cmp", "jne"]
    assert loop.counts["vpdpbusd"] == 2
    loop = inner_loop(ARM, "sdot")
    assert [name for name, _ in loop.instructions] == ["sdot", "sdot", "subs", "b.ne"]
    for listing, name in ((LISTING, "sdot"), (ARM, "ldp"), ("", "sdot")):
        with pytest.raises(NoDisassemblyError, match=f"no loop with {name}"):
            inner_loop(listing, name)


def test_a_loop_as_it_is_meant_to_be_is_accepted() -> None:
    assert Loop(GOOD).problems("avx512") == []
    assert Loop(GOOD * 2).problems("avx512") == []  # unrolled


@pytest.mark.parametrize(
    ("loop", "problem"),
    [
        (GOOD[1:], "15 vpdpbusd instead of 16 vpdpbusd, or a multiple"),
        ([("vmovdqa64", "0x40(%rsp),%zmm3"), *GOOD], "memory is touched: vmovdqa64 0x40(%rsp)"),
        ([("vpdpbusd", "-0x40(%rsp),%zmm0,%zmm2"), *GOOD[1:]], "memory is touched: vpdpbusd -0x40"),
        ([GOOD[0], *GOOD[:1], *GOOD[2:]], "15 registers for sums instead of 16"),
    ],
)
def test_what_halves_or_inflates_a_peak_is_found(loop: list[tuple[str, str]], problem: str) -> None:
    assert any(found.startswith(problem) for found in Loop(loop).problems("avx512"))


def test_all_instructions_of_a_round_go_together() -> None:
    good = [(name, "%ymm0,%ymm1,%ymm2") for name, n in EXPECTED["avx2"].items() for _ in range(n)]
    assert Loop(good).problems("avx2") == []
    assert Loop([*good, ("vpmaddwd", "%ymm0,%ymm1,%ymm2")]).problems("avx2") != []
    sums = [("sdot", f"v{i}.4s, v1.16b, v2.16b") for i in range(16)]
    assert Loop(sums).problems("neon_dot") == []
    assert Loop([*sums[:15], sums[0]]).problems("neon_dot") != []
    assert Loop([*sums, ("ldr", "q3, [sp, #16]")]).problems("neon_dot") != []


def test_what_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "library.so"
    empty.write_bytes(b"no ELF")
    with pytest.raises(NoDisassemblyError, match="no-such-objdump is not installed"):
        check(empty, "avx2", "no-such-objdump")
    with pytest.raises(NoDisassemblyError):
        check(empty, "avx2")
