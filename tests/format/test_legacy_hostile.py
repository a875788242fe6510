"""Damaged and hostile files of 2023: every rule broken, and damage of every kind."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import BytesSource
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_models import IDS, OldModel, OldTensor, old_vocabulary, record, token

from llamacpp.errors import FormatError, LlamaError, ModelFileError, UnsupportedError
from llamacpp.format.legacy.convert import convert_legacy
from llamacpp.format.legacy.header import parse_legacy
from llamacpp.format.sniff import is_legacy

HUGE = 2**32 - 1
INTERESTING = [0, 1, 2, 7, 31, 32, 0x7F, 0x80, 0xFF]
WIDE = [0, 1, 2, 2**16, 2**31 - 1, 2**31, HUGE]

EMBD, FF, VOCAB = 32, 64, 3
SHAPES = {
    "tok_embeddings": (EMBD, VOCAB),
    "norm": (EMBD,),
    "output": (EMBD, VOCAB),
    "layers.0.attention.wq": (EMBD, EMBD),
    "layers.0.attention.wk": (EMBD, EMBD),
    "layers.0.attention.wv": (EMBD, EMBD),
    "layers.0.attention.wo": (EMBD, EMBD),
    "layers.0.attention_norm": (EMBD,),
    "layers.0.feed_forward.w1": (EMBD, FF),
    "layers.0.feed_forward.w2": (FF, EMBD),
    "layers.0.feed_forward.w3": (EMBD, FF),
    "layers.0.ffn_norm": (EMBD,),
}


def small() -> OldModel:
    """A whole model whose matrices are Q4_0 as of v1, all zero."""
    sizes = {"n_vocab": VOCAB, "n_embd": EMBD, "n_mult": 32, "n_head": 2, "n_layer": 1,
             "n_rot": 16, "ftype": 2}  # fmt: skip
    model = OldModel(sizes, old_vocabulary([])[:VOCAB], [0.0] * VOCAB)
    for name, shape in SHAPES.items():
        kind, nbytes = ("Q4_0", shape[0] // 32 * 20) if len(shape) > 1 else ("F32", shape[0] * 4)
        rows = np.zeros((shape[1] if len(shape) > 1 else 1, nbytes), np.uint8)
        model.tensors.append(OldTensor(f"{name}.weight", kind, shape, rows))
    return model


def change(family: str = "ggjt", **sizes: int) -> bytes:
    """A file that differs in these numbers of its header."""
    model = small()
    model.sizes |= sizes
    return model.encode(family, 1)


def edit(name: str, edit: Callable[[OldTensor], None], family: str = "ggjt") -> bytes:
    """A file that differs in one tensor."""
    model = small()
    edit(next(t for t in model.tensors if t.name == f"{name}.weight"))
    return model.encode(family, 1)


def without(name: str) -> bytes:
    model = small()
    model.tensors = [t for t in model.tensors if t.name != f"{name}.weight"]
    return model.encode("ggjt", 1)


def reshape(shape: tuple[int, ...]) -> Callable[[OldTensor], None]:
    def apply(tensor: OldTensor) -> None:
        tensor.shape = shape
        tensor.rows = np.zeros(shape[0] // 32 * 20 * (shape[1] if shape[1:] else 1), np.uint8)

    return apply


def rename(name: str) -> Callable[[OldTensor], None]:
    return lambda tensor: setattr(tensor, "name", name)


GOOD = small().encode("ggjt", 1)
PREAMBLE = small().preamble("ggjt", 1)
SIZES = PREAMBLE[:36]  # magic, version and the seven numbers
MISSING = "the download is incomplete or the file is damaged"

BAD_FORMAT: dict[str, tuple[bytes, str]] = {
    "magic alone": (GOOD[:4], "the version at byte 4 runs past the end of the file"),
    "no sizes": (GOOD[:12], "n_embd at byte 12 runs past the end of the file"),
    # the header's numbers
    "n_embd 0": (change(n_embd=0), "n_embd is 0, outside 1 to"),
    "n_embd huge": (change(n_embd=HUGE), f"n_embd is {HUGE}, outside 1 to"),
    "n_head 0": (change(n_head=0), "n_head is 0, outside 1 to"),
    "n_head 3": (change(n_head=3), "an embedding of 32 makes no 3 heads that rotate 16"),
    "n_layer 0": (change(n_layer=0), "n_layer is 0, outside 1 to"),
    "n_layer huge": (change(n_layer=HUGE), f"n_layer is {HUGE}, outside 1 to"),
    "n_layer 2": (change(n_layer=2), rf"'layers\.1\.attention_norm\.weight' is missing: {MISSING}"),
    "n_rot odd": (change(n_rot=15), "heads that rotate 15 dimensions"),
    "n_rot large": (change(n_rot=18), "heads that rotate 18 dimensions"),
    # the vocabulary
    "n_vocab huge": (change(n_vocab=HUGE), f"claims {HUGE} tokens, more than its"),
    "n_vocab beyond": (
        struct.pack("<4s8I", b"tjgg", 1, 4, EMBD, 32, 2, 1, 16, 2) + bytes(31),
        "claims 4 tokens, more than its 31 remaining bytes",
    ),
    "tokens beyond": (
        struct.pack("<4s8I", b"tjgg", 1, 2, EMBD, 32, 2, 1, 16, 2) + token(b"abc", 0.0) + bytes(5),
        "token 1 at byte 51 runs past the end of the file",
    ),
    "long token": (
        SIZES + token(b"", 0.0) + token(b"x" * 5000, 0.0) + GOOD,
        "token 1 at byte 44 is 5000 bytes long, .* another model of 2023",
    ),
    "endless token": (
        SIZES + struct.pack("<I", HUGE) + GOOD,
        f"token 0 at byte 36 is {HUGE} bytes long",
    ),
    # records
    "no tensors": (PREAMBLE, rf"'tok_embeddings\.weight' is missing: {MISSING}"),
    "half a record": (PREAMBLE + bytes(7), "record of a tensor at byte 65 runs past the end"),
    "half a name": (
        PREAMBLE + record("norm.weight", (32,), 0)[:-1],
        "record of a tensor at byte 65 runs past the end",
    ),
    "no dimensions": (
        PREAMBLE + record("norm.weight", (), 0) + bytes(200),
        "the tensor at byte 65 has 0 dimensions; 1 or 2",
    ),
    "three dimensions": (
        PREAMBLE + record("norm.weight", (1, 1, 1), 0) + bytes(200),
        "the tensor at byte 65 has 3 dimensions; 1 or 2",
    ),
    "endless dimensions": (
        PREAMBLE + record("norm.weight", (32,), 0, n_dims=HUGE) + bytes(200),
        f"has {HUGE} dimensions",
    ),
    "no name": (
        PREAMBLE + record("", (32,), 0) + bytes(200),
        "the name of the tensor at byte 65 is 0 bytes long",
    ),
    "endless name": (
        PREAMBLE + record("norm.weight", (32,), 0, name_nbytes=HUGE) + bytes(200),
        f"the name of the tensor at byte 65 is {HUGE} bytes long; 1 to 63",
    ),
    "dimension 0": (
        PREAMBLE + record("output.weight", (32, 0), 0) + bytes(200),
        r"'output\.weight' has a dimension of 0: \[32, 0\]",
    ),
    "half a block": (
        PREAMBLE + record("output.weight", (48, 3), IDS["Q4_0"]) + bytes(200),
        r"'output\.weight': rows of 48 elements are not whole Q4_0 blocks of 32",
    ),
    "endless data": (
        PREAMBLE + record("output.weight", (HUGE, HUGE), 0) + bytes(200),
        rf"'output\.weight' ends at byte {128 + 4 * HUGE * HUGE}, but the file has 298 bytes",
    ),
    "past the end by one": (GOOD[:-1], r"'layers\.0\.ffn_norm\.weight' ends at byte 7712, but"),
    "trailing bytes": (GOOD + b"\0", "record of a tensor at byte 7712 runs past the end"),
    # the model
    "twice": (GOOD + GOOD[len(PREAMBLE) :], r"'tok_embeddings\.weight' is there twice"),
    **{
        f"without {name}": (without(name), rf"'{name}\.weight' is missing: {MISSING}")
        for name in SHAPES
    },
    "narrow": (
        edit("layers.0.feed_forward.w2", reshape((32, 32))),
        r"w2\.weight' has the shape \[32, 32\], which does not make \[64, 32\]",
    ),
    "a vector": (
        edit("layers.0.attention.wv", reshape((32,))),
        r"wv\.weight' has the shape \[32\], which does not make \[32, 32\]",
    ),
    "a matrix": (
        edit("norm", lambda tensor: setattr(tensor, "shape", (32, 1))),
        r"'norm\.weight' has the shape \[32, 1\], which does not make \[32\]",
    ),
    "fewer rows than tokens": (
        edit("output", reshape((32, 2))),
        r"'output\.weight' has the shape \[32, 2\], which does not make \[32, 3\]",
    ),
    "half a head": (edit("layers.0.attention.wk", reshape((32, 24))), "24 rows of keys are no"),
    "more heads of keys": (
        edit("layers.0.attention.wk", reshape((32, 64))),
        "64 rows of keys are no heads that 2 could share",
    ),
    "ggjt in parts": (
        change(n_embd=64),
        r"'tok_embeddings\.weight' has the shape \[32, 3\], which does not make \[64, 3\]",
    ),
    "parts that do not add up": (
        change("ggmf", n_embd=64, n_rot=32),
        r"'norm\.weight' has the shape \[32\] in each of 2 parts, which does not make \[64\]",
    ),
    "wider than the model": (
        edit("tok_embeddings", reshape((64, 3)), "ggmf"),
        r"'tok_embeddings\.weight' has the shape \[64, 3\], which does not make \[32, 3\]",
    ),
}

UNSUPPORTED: dict[str, tuple[bytes, str]] = {
    "ggmf 2": (struct.pack("<4sI", b"fmgg", 2) + GOOD, "ggmf version 2 does not exist"),
    "ggjt 0": (struct.pack("<4sI", b"tjgg", 0) + GOOD, "ggjt version 0 does not exist"),
    "ggjt 4": (struct.pack("<4sI", b"tjgg", 4) + GOOD, "ggjt version 4 does not exist"),
    "another model": (
        edit("norm", rename("transformer.h.0.ln_1.weight")),
        r"no tensor 'transformer\.h\.0\.ln_1\.weight': .* only LLaMA is supported",
    ),
    "a layer too many": (
        edit("layers.0.ffn_norm", rename("layers.1.ffn_norm.weight")),
        r"a LLaMA of 1 layers has no tensor 'layers\.1\.ffn_norm\.weight'",
    ),
    "a layer of many names": (
        edit("layers.0.ffn_norm", rename("layers.00.ffn_norm.weight")),
        "has no tensor 'layers.00",
    ),
    "no text": (
        PREAMBLE + record("norm.weight", (32,), 0).replace(b"norm", b"\xff\x1b[2") + bytes(200),
        "has no tensor '\ufffd\\\\x1b",
    ),
    **{
        f"type {number} in v{version}": (
            small().preamble("ggjt", version) + record("norm.weight", (32,), number) + bytes(200),
            f"'norm.weight' has the type id {number}, which files of this version do not have",
        )
        for version, number in [(1, 9), (1, 10), (2, 4), (2, 5), (2, 12), (3, 4), (3, 9), (3, 15),
                                (3, 30), (3, HUGE)]
    },
}  # fmt: skip


def parse(data: bytes) -> None:
    source = BytesSource(data, "old.bin")
    assert is_legacy(source)
    parse_legacy(source)


@pytest.mark.parametrize("case", BAD_FORMAT)
def test_a_broken_rule_is_a_format_error_that_names_it(case: str) -> None:
    data, message = BAD_FORMAT[case]
    with pytest.raises(FormatError, match=message) as caught:
        parse(data)
    assert str(caught.value).startswith("old.bin: ")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_is_named(case: str) -> None:
    data, message = UNSUPPORTED[case]
    with pytest.raises(UnsupportedError, match=message) as caught:
        parse(data)
    assert str(caught.value).startswith("old.bin: ")


def test_the_files_that_the_broken_ones_start_from_parse() -> None:
    for family, version in (("ggml", 0), ("ggmf", 1), ("ggjt", 1)):
        parse(small().encode(family, version))


@pytest.mark.parametrize(("family", "version"), [("ggml", 0), ("ggmf", 1), ("ggjt", 1)])
def test_a_file_cut_anywhere_is_refused(family: str, version: int) -> None:
    whole = small().encode(family, version)
    for end in (*range(4, 500), *range(500, len(whole), 7)):
        with pytest.raises(FormatError, match=r"runs past|ends at byte|claims|missing"):
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


def test_a_vocabulary_beyond_all_known_ones_is_refused() -> None:
    """Though the file is long enough to hold it."""

    class Zeros(BytesSource):
        """A file of 8 GiB, zeros from some point on."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.nbytes = 8 << 30

        def read_at(self, offset: int, into: memoryview) -> int:
            super().read_at(offset, into)
            return len(into)

    with pytest.raises(FormatError, match="claims 67108864 tokens"):
        parse_legacy(Zeros(struct.pack("<4s8I", b"tjgg", 1, 1 << 26, EMBD, 32, 2, 1, 16, 2)))
    texts = b"".join(token(b" " * 4096, 0.0) for _ in range(2100))
    head = struct.pack("<4s8I", b"tjgg", 1, 2100, EMBD, 32, 2, 1, 16, 2)
    with pytest.raises(FormatError, match=r"token \d+ at byte \d+ is 4096 bytes long, too much"):
        parse_legacy(Zeros(head + texts))


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    for have in (20, len(PREAMBLE) + 40):
        source = BytesSource(GOOD, "old.bin")
        source.data = GOOD[:have]
        with pytest.raises(ModelFileError, match=r"became shorter while|runs past the end"):
            parse_legacy(source)


# ---- Damage of every kind ------------------------------------------------------------------------


def use_all(data: bytes) -> bool:
    """Parse; False where the file was refused by one of our errors."""
    source = BytesSource(data)
    if not is_legacy(source):
        return False
    try:
        header = parse_legacy(source)
    except LlamaError:
        return False
    end = header.data_offset
    for info in header.tensors.values():
        assert end <= info.offset < info.offset + info.nbytes <= len(data)
        end = info.offset + info.nbytes
    return True


@pytest.mark.parametrize(("family", "version"), [("ggml", 0), ("ggmf", 1), ("ggjt", 1)])
def test_every_byte_of_the_header_and_of_a_record_changed_in_turn(
    family: str, version: int
) -> None:
    whole = small().encode(family, version)
    outcomes = set()
    for position in range(180):
        for byte in INTERESTING:
            outcomes.add(use_all(whole[:position] + bytes([byte]) + whole[position + 1 :]))
        for number in WIDE:
            use_all(whole[:position] + struct.pack("<I", number) + whole[position + 4 :])
    assert outcomes == {True, False}


def test_random_damage_with_a_fixed_seed(tmp_path: Path) -> None:
    """What still parses also converts, or is refused."""
    rng = random.Random(20230330)
    converted = 0
    for _ in range(1000):
        data = bytearray(GOOD)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(data))
            action = rng.randrange(4)
            if action < 2:
                data[start] = rng.randrange(256)
            elif action == 2:
                del data[start : start + rng.randint(1, 16)]
            else:
                data[start:start] = rng.randbytes(rng.randint(1, 16))
        if use_all(bytes(data)):
            (tmp_path / "old.bin").write_bytes(data)
            try:
                convert_legacy(tmp_path / "old.bin", tmp_path / "new.gguf", overwrite=True)
                converted += 1
            except LlamaError:
                pass
    assert converted > 50
    assert {path.name for path in tmp_path.iterdir()} == {"old.bin", "new.gguf"}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"lmgg", b"fmgg\1\0\0\0", b"tjgg\3\0\0\0", SIZES, PREAMBLE]), st.binary())
def test_any_bytes_after_a_valid_beginning(start: bytes, tail: bytes) -> None:
    use_all(start + tail)
