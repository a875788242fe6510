"""Every rule of the format, broken by a file built for it; the message says which and where."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from gguf_bytes import (
    ARRAY,
    BOOL,
    STRING,
    U8,
    U16,
    U32,
    U64,
    BytesSource,
    array,
    entry,
    gguf,
    model,
    size,
    tensor,
)

from llamacpp.errors import FormatError, LlamaError, ModelFileError, UnsupportedError
from llamacpp.format.gguf import parse_header
from llamacpp.format.types import REMOVED_TYPES, GGMLType

HUGE = 2**64 - 1
GOOD = model({"k": 1}, {"t": (GGMLType.F32, [8], bytes(32))})

NOT_GGUF = {
    "garbage": (b"ABCDEFGH" * 8, r"not a GGUF file: it starts with b'ABCD' instead of b'GGUF'"),
    "one byte": (b"G", r"it starts with b'G' instead of"),
    "ggla": (b"algg" + bytes(60), "a ggla LoRA adapter"),
    "ggsn": (b"nsgg" + bytes(60), "a ggsn session, not a model"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "run `git lfs pull`"),
    "zip": (b"PK\x03\x04" + bytes(60), "a PyTorch checkpoint or zip archive; convert"),
    "pickle": (b"\x80\x02\x8a\nl\xfc", "a PyTorch checkpoint or zip archive; convert"),
    "safetensors": (struct.pack("<Q", 300) + b'{"__meta', "a safetensors file; convert"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page; the download link"),
}

BAD_FORMAT: dict[str, tuple[bytes, str]] = {
    **NOT_GGUF,
    "no version": (b"GGUF", "the version at byte 4 runs past the end of the file"),
    "version 0": (gguf(version=0), "version 0 does not exist"),
    "no counts": (b"GGUF\x03\0\0\0", "the tensor count at byte 8 runs past the end"),
    "metadata count": (gguf(n_kv=HUGE), f"claims {HUGE} metadata entries, more than its 0 "),
    "metadata count by one": (
        gguf([entry("k", U8, 1)], n_kv=2) + bytes(8),
        "claims 2 metadata entries, more than its 22 remaining bytes can hold",
    ),
    "metadata limit": (
        gguf(n_kv=65537) + bytes(14 * 65537),
        "claims 65537 metadata entries; more than 65536 are not plausible",
    ),
    "tensor count": (gguf(n_tensors=HUGE), f"claims {HUGE} tensors, more than its 0 "),
    "tensor count v1": (gguf(n_tensors=2**32 - 1, version=1), "claims 4294967295 tensors"),
    "tensor limit": (
        gguf(n_tensors=131073) + bytes(33 * 131073),
        "claims 131073 tensors; more than 131072 are not plausible",
    ),
    # keys
    "empty key": (gguf([entry("", U32, 1)]), "a metadata key at byte 24 is 0 bytes long; 1 to"),
    "long key": (
        gguf([entry("k" * 65536, U32, 1)]),
        "a metadata key at byte 24 is 65536 bytes long; 1 to 65535 are allowed",
    ),
    "endless key": (gguf([size(HUGE) + bytes(30)]), f"key at byte 24 is {HUGE} bytes long"),
    "key past the end": (
        gguf([size(100) + bytes(30)]),
        "a metadata key at byte 32 runs past the end of the file",
    ),
    "undecodable key": (
        gguf([entry(b"\xff\xfe", U32, 1)]),
        r"a metadata key at byte 24 is not valid UTF-8: b'\\xff\\xfe'",
    ),
    "duplicate key": (gguf([entry("k", U32, 1)] * 2), "metadata 'k' is given twice"),
    "long name in a message": (
        gguf([entry("k" * 500, U32, 1)] * 2),
        r"metadata 'k{80}'\.\.\. is given twice",
    ),
    # values
    "value type 13": (gguf([entry("k", 13, bytes(8))]), "'k' has the unknown value type 13"),
    "value cut": (gguf([entry("kk", U64, bytes(2))]), "metadata 'kk' at byte 38 runs past the end"),
    "boolean 2": (gguf([entry("k", BOOL, b"\x02")]), "'k' is a boolean with the value 2; 0 or 1"),
    "string past the end": (
        gguf([entry("k", STRING, size(9) + b"12345678")]),
        "metadata 'k' at byte 45 runs past the end of the file",
    ),
    "endless string": (
        gguf([entry("k", STRING, size(HUGE) + bytes(8))]),
        "metadata 'k' at byte 45 runs past the end of the file",
    ),
    "endless string v1": (
        gguf([entry("k", STRING, size(2**32 - 1, 1) + bytes(8), 1)], version=1),
        "metadata 'k' at byte 29 runs past the end of the file",
    ),
    # arrays
    "array type 13": (
        gguf([entry("k", ARRAY, struct.pack("<IQ", 13, 0))]),
        "unknown value type 13",
    ),
    "endless array": (
        gguf([entry("k", ARRAY, array(U32, [1], count=HUGE))]),
        f"metadata 'k' claims {HUGE} elements, more than the 4 bytes left can hold",
    ),
    "array by one": (
        gguf([entry("k", ARRAY, array(U16, [1, 2], count=3))]),
        "metadata 'k' claims 3 elements, more than the 4 bytes left",
    ),
    "size wraps": (  # 2^62 elements of 4 bytes are 0 bytes modulo 2^64
        gguf([entry("k", ARRAY, array(U32, [1], count=2**62))]),
        f"metadata 'k' claims {2**62} elements",
    ),
    "endless array of strings": (
        gguf([entry("k", ARRAY, array(STRING, ["a"], count=HUGE))]),
        f"metadata 'k' claims {HUGE} elements, more than the 9 bytes left",
    ),
    "strings by one": (
        gguf([entry("k", ARRAY, array(STRING, ["a" * 20], count=2))]),
        "entry 1 of metadata 'k' at byte 77 runs past the end of the file",
    ),
    "endless string in an array": (
        gguf([entry("k", ARRAY, array(STRING, ["a"]) + size(HUGE))]).replace(
            array(STRING, ["a"]), array(STRING, ["a"], count=2)
        ),
        "entry 1 of metadata 'k' at byte 58 runs past the end of the file",
    ),
    "booleans of 2": (
        gguf([entry("k", ARRAY, array(U8, [0, 2, 1]).replace(b"\0" * 4, struct.pack("<I", 7), 1))]),
        "metadata 'k' holds a boolean that is neither 0 nor 1",
    ),
    # alignment
    **{
        f"alignment {value}": (
            gguf([entry("general.alignment", U32, value)]),
            f"'general.alignment' is {value}; a power of two from 8 to 1048576",
        )
        for value in (0, 1, 4, 24, 33, 1 << 21, 1 << 31)
    },
    "alignment u64": (
        gguf([entry("general.alignment", U64, 32)]),
        "'general.alignment' must be UINT32, but is UINT64",
    ),
    "alignment array": (
        gguf([entry("general.alignment", ARRAY, array(U32, [32]))]),
        "'general.alignment' must be UINT32, but is ARRAY",
    ),
    # tensor directory
    "nameless tensor": (
        gguf([], [tensor("", [8])], bytes(32)),
        "a tensor name at byte 24 is 0 byte",
    ),
    "long tensor name": (
        gguf([], [tensor("n" * 64, [8])], bytes(32)),
        "a tensor name at byte 24 is 64 bytes long; 1 to 63 are allowed",
    ),
    "undecodable tensor name": (
        gguf([], [tensor(b"\xc3", [8])], bytes(32)),
        "a tensor name at byte 24 is not valid UTF-8",
    ),
    "duplicate tensor": (
        gguf([], [tensor("t", [8]), tensor("t", [8], offset=32)], bytes(64)),
        "tensor 't' is listed twice",
    ),
    "no dimensions": (gguf([], [tensor("t", [])], bytes(32)), "'t' has 0 dimensions; 1 to 4"),
    "five dimensions": (
        gguf([], [tensor("t", [1] * 5)], bytes(32)),
        "'t' has 5 dimensions; 1 to 4",
    ),
    "endless dimensions": (
        gguf([], [tensor("t", [8], n_dims=2**32 - 1)], bytes(32)),
        "'t' has 4294967295 dimensions",
    ),
    "dimension 0": (
        gguf([], [tensor("t", [8, 0])], bytes(32)),
        r"'t' has a dimension of 0: \[8, 0\]",
    ),
    "elements wrap to 0": (
        gguf([], [tensor("t", [2**32, 2**32])], bytes(32)),
        "'t' has more elements than 63 bits can count",
    ),
    "elements wrap to 8": (
        gguf([], [tensor("t", [8, 2**63 + 1, 2])], bytes(32)),
        "'t' has more elements than 63 bits can count",
    ),
    "bytes wrap": (  # 2^62 F32 are 2^64 bytes
        gguf([], [tensor("t", [2**62])], bytes(32)),
        f"'t' ends at byte {2**64 + 64}, but the file has 96 bytes",
    ),
    "not whole blocks": (
        gguf([], [tensor("t", [48, 2], GGMLType.Q4_0)], bytes(64)),
        "'t': rows of 48 elements are not whole Q4_0 blocks of 32",
    ),
    "not whole super-blocks": (
        gguf([], [tensor("t", [32, 8], GGMLType.Q6_K)], bytes(256)),
        "'t': rows of 32 elements are not whole Q6_K blocks of 256",
    ),
    "not whole blocks of a table": (
        gguf([], [tensor("t", [48, 2], GGMLType.MXFP4)], bytes(64)),
        "'t': rows of 48 elements are not whole MXFP4 blocks of 32",
    ),
    "not whole super-blocks of a lattice": (
        gguf([], [tensor("t", [128, 8], GGMLType.IQ1_M)], bytes(512)),
        "'t': rows of 128 elements are not whole IQ1_M blocks of 256",
    ),
    "misaligned": (
        gguf([], [tensor("t", [8], offset=16)], bytes(64)),
        "'t': offset 16 is not a multiple of the alignment 32",
    ),
    "misaligned by its own rule": (
        gguf([entry("general.alignment", U32, 64)], [tensor("t", [8], offset=32)], bytes(128)),
        "'t': offset 32 is not a multiple of the alignment 64",
    ),
    "past the end by one": (
        GOOD[:-1],
        "'t' ends at byte 128, but the file has 127 bytes: the download is incomplete",
    ),
    "offset wraps": (
        gguf([], [tensor("t", [8], offset=2**64 - 32)], bytes(32)),
        f"'t' ends at byte {2**64 + 64}, but the file has 96 bytes",
    ),
    "no data at all": (
        gguf([], [tensor("t", [8])]),
        "'t' ends at byte 96, but the file has 57 bytes",
    ),
    "padding past the end": (  # the directory ends the file; its padding would lie beyond
        gguf([entry("general.alignment", U32, 1 << 20)], [tensor("t", [1])]),
        "'t' ends at byte 1048580, but the file has 90 bytes",
    ),
    "overlap": (
        gguf([], [tensor("a", [16]), tensor("b", [8], offset=32)], bytes(64)),
        "tensors 'a' and 'b' overlap",
    ),
    "same place": (
        gguf([], [tensor("a", [8]), tensor("b", [8])], bytes(64)),
        "tensors 'a' and 'b' overlap",
    ),
    "overlap out of order": (
        gguf([], [tensor("a", [8], offset=32), tensor("b", [9], offset=0)], bytes(64)),
        "tensors 'b' and 'a' overlap",
    ),
}

UNSUPPORTED: dict[str, tuple[bytes, str]] = {
    "version 4": (gguf(version=4), "GGUF version 4 is newer than this library, which reads 1 to 3"),
    "big-endian": (b"GGUF" + struct.pack(">I", 3) + bytes(16), "a big-endian GGUF file; only"),
    "big-endian v2": (b"GGUF" + struct.pack(">I", 2) + bytes(16), "a big-endian GGUF file"),
    "nested array": (
        gguf([entry("k", ARRAY, struct.pack("<IQ", ARRAY, 1) + array(U8, [1]))]),
        "metadata 'k' is an array of arrays, which no model uses",
    ),
    "unknown type": (
        gguf([], [tensor("t.weight", [8], 999)], bytes(32)),
        "tensor 't.weight' has the unknown type id 999",
    ),
    "type -1": (
        gguf([], [tensor("t.weight", [8], 2**32 - 1)], bytes(32)),
        "tensor 't.weight' has the unknown type id 4294967295",
    ),
    **{
        f"removed {name}": (
            gguf([], [tensor("t.weight", [8], number)], bytes(32)),
            rf"tensor 't.weight' has the type {name} \(id {number}\), which was removed",
        )
        for number, name in REMOVED_TYPES.items()
    },
}


def parse(data: bytes) -> None:
    parse_header(BytesSource(data, "the-file.gguf"))


@pytest.mark.parametrize("case", BAD_FORMAT)
def test_a_broken_rule_is_a_format_error_that_names_it(case: str) -> None:
    data, message = BAD_FORMAT[case]
    with pytest.raises(FormatError, match=message) as caught:
        parse(data)
    assert str(caught.value).startswith("the-file.gguf: ")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_valid_but_not_supported_is_named(case: str) -> None:
    data, message = UNSUPPORTED[case]
    with pytest.raises(UnsupportedError, match=message) as caught:
        parse(data)
    assert str(caught.value).startswith("the-file.gguf: ")


def test_the_valid_file_that_the_broken_ones_start_from_parses() -> None:
    parse(GOOD)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_cut_anywhere_is_refused(version: int) -> None:
    whole = model(
        {"a": 1, "b": "text", "c": ["x", "yy"], "d": [1, 2]},
        {"t": (GGMLType.F32, [8], bytes(32)), "u": (GGMLType.F16, [4], bytes(8))},
        version=version,
    )
    parse(whole)
    for end in range(len(whole)):
        with pytest.raises(ModelFileError, match=r"runs past|ends at byte|can hold|starts"):
            parse(whole[:end])


def test_nothing_is_allocated_on_a_files_word() -> None:
    tracemalloc.start()
    try:
        for data, _ in [*BAD_FORMAT.values(), *UNSUPPORTED.values()]:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(LlamaError):
                parse(data)
            assert tracemalloc.get_traced_memory()[1] - before < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_header_beyond_the_cap_is_refused_with_the_reason() -> None:
    class Claims(BytesSource):
        """A file of 8 GiB, zeros from some point on."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.nbytes = 8 << 30

        def read_at(self, offset: int, into: memoryview) -> int:
            super().read_at(offset, into)
            return len(into)

    text, numbers = size(1 << 30), array(U8, [], count=1 << 30)
    for kind, value in ((STRING, text), (ARRAY, numbers)):
        with pytest.raises(FormatError, match=r"longer than 256 MiB.*\(at metadata 'k'\)"):
            parse_header(Claims(gguf([entry("k", kind, value)])))
    strings = array(STRING, ["a"], count=2) + size(1 << 30)
    with pytest.raises(FormatError, match=r"longer than 256 MiB.*\(at entry 1 of metadata 'k'\)"):
        parse_header(Claims(gguf([entry("k", ARRAY, strings)])))


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    source = BytesSource(GOOD)
    source.nbytes = len(GOOD) + 1000
    source.data = GOOD[:40]
    with pytest.raises(ModelFileError, match="became shorter while it was read"):
        parse_header(source)
