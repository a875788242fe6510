"""Files of 2023 read as if they were GGUF: sizes, vocabulary, directory; what runs in place."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from legacy_models import OldModel, old_vocabulary
from random_models import write_random_model

from llamacpp.errors import FormatError, ModelFileError, UnsupportedError
from llamacpp.format import GGMLType, ModelFile, ValueType
from llamacpp.format.legacy.layouts import OldType
from llamacpp.tensors import map_tensors
from llamacpp.tokenizer import load_tokenizer

SHAPE = {"n_embd": 64, "n_ff": 128, "n_layer": 2, "n_head": 2, "n_kv_head": 2, "head_dim": 32,
         "n_vocab": 270}  # fmt: skip
FORMATS = [("ggml", 0, 1), ("ggmf", 1, 1), ("ggjt", 1, 1), ("ggjt", 2, 2), ("ggjt", 3, 3)]


def label(family: str, version: int) -> str:
    return f"{family} v{version}" if version else family


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("m") / "m.gguf", Type.Q4_0, **SHAPE)


@pytest.mark.parametrize(("family", "version", "layout"), FORMATS)
def test_every_format_says_what_its_gguf_would(
    source: Path, tmp_path: Path, family: str, version: int, layout: int
) -> None:
    path = OldModel.of(source, layout).write(tmp_path / "old.bin", family, version)
    with ModelFile(path) as file, ModelFile(source) as new:
        assert (file.format, file.version) == (label(family, version), version)
        assert file.nbytes == path.stat().st_size
        metadata = file.metadata
        for key in ("embedding_length", "block_count", "feed_forward_length",
                    "attention.head_count", "attention.head_count_kv",
                    "rope.dimension_count"):  # fmt: skip
            assert metadata.integer(f"llama.{key}") == new.metadata.integer(f"llama.{key}"), key
        assert metadata.string("general.architecture") == "llama"
        assert metadata.integer("llama.context_length") == 2048
        eps = metadata.number("llama.attention.layer_norm_rms_epsilon")
        assert eps == (5e-6 if version == 3 else 1e-6)
        assert {n: (t.type.name, t.shape) for n, t in file.tensors.items()} == {
            n: (t.type.name, t.shape) for n, t in new.tensors.items()
        }
        kinds = {type(t.type) for t in file.tensors.values()}
        assert kinds == ({GGMLType} if version == 3 else {GGMLType, OldType})
        assert all(t.offset % 32 == 0 for t in file.tensors.values()) == (family == "ggjt")


def test_heads_shared_by_a_group_are_seen_in_the_shapes(tmp_path: Path) -> None:
    """As in LLaMA 2 70B, which is the only old model of that kind."""
    source = write_random_model(tmp_path / "m.gguf", Type.F16, **{**SHAPE, "n_kv_head": 1})
    with ModelFile(OldModel.of(source, 3).write(tmp_path / "old.bin", "ggjt", 3)) as file:
        assert file.metadata.integer("llama.attention.head_count_kv") == 1
        assert file.metadata.integer("llama.context_length") == 4096
        assert file.metadata.number("llama.attention.layer_norm_rms_epsilon") == 1e-5


@pytest.mark.parametrize("family", ["ggml", "ggmf"])
def test_the_vocabulary_of_llama_comes_out_as_its_gguf_has_it(
    data_dir: Path, source: Path, tmp_path: Path, family: str
) -> None:
    """For ggml the scores, which it lacks, are derived: all 32,000 are right."""
    with ModelFile(data_dir / "vocab" / "llama-spm.gguf") as real:
        wanted = real.metadata
        tokens, scores = wanted.strings("tokenizer.ggml.tokens"), real.metadata.numbers(
            "tokenizer.ggml.scores", ValueType.FLOAT32
        )  # fmt: skip
        old = OldModel.of(source, 1)
        old.texts, old.scores = old_vocabulary(list(tokens)[259:]), list(scores)
        old.sizes["n_vocab"] = len(tokens)
        for tensor in old.tensors:
            if tensor.name in ("tok_embeddings.weight", "output.weight"):
                tensor.shape = (tensor.shape[0], len(tokens))
                tensor.rows = np.zeros((len(tokens), tensor.rows.shape[1]), np.uint8)
        with ModelFile(old.write(tmp_path / "old.bin", family, 1)) as file:
            found = file.metadata
            assert list(found.strings("tokenizer.ggml.tokens")) == list(tokens)
            for key, kind in (("scores", ValueType.FLOAT32), ("token_type", ValueType.INT32)):
                key = f"tokenizer.ggml.{key}"
                assert list(found.numbers(key, kind)) == list(wanted.numbers(key, kind))
            for name in ("bos", "eos", "unknown"):
                key = f"tokenizer.ggml.{name}_token_id"
                assert found.integer(key) == wanted.integer(key)
            tokenizers = [load_tokenizer(m) for m in (found, wanted)]
            text = "Hello  world,\n\tnaïve 你好 \U0001f600"
            ids = [t.encode(text) for t in tokenizers if t is not None]
            assert ids[0] == ids[1]
            assert len(ids[0]) > 10


@pytest.mark.parametrize(
    ("kind", "family", "version", "layout"),
    [
        *[(kind, "ggjt", 3, 3) for kind in (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)],
        *[(kind, "ggjt", 2, 2) for kind in (Type.F32, Type.F16, Type.Q5_0, Type.Q5_1)],
        *[(kind, "ggjt", 1, 1) for kind in (Type.F32, Type.F16)],
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_blocks_laid_out_as_todays_are_mapped(
    tmp_path: Path, kind: Type, family: str, version: int, layout: int
) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, **SHAPE)
    path = OldModel.of(source, layout).write(tmp_path / "old.bin", family, version)
    with ModelFile(path) as file:
        tensors = map_tensors(file)
        for t in gguf.GGUFReader(source).tensors:
            assert bytes(tensors[t.name].data) == np.array(t.data).tobytes(), t.name


@pytest.mark.parametrize(
    ("kind", "family", "version", "layout", "reason"),
    [
        *[(kind, "ggjt", 1, 1, f"its {kind.name} blocks are not laid out as today's")
          for kind in (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)],
        *[(kind, "ggjt", 2, 2, f"its {kind.name} blocks are not laid out as today's")
          for kind in (Type.Q4_0, Type.Q4_1, Type.Q8_0)],
        (Type.F16, "ggmf", 1, 1, "its tensors are not aligned"),
        (Type.F32, "ggml", 0, 1, "its tensors are not aligned"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)  # fmt: skip
def test_others_are_refused_with_the_way_out(
    tmp_path: Path, kind: Type, family: str, version: int, layout: int, reason: str
) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, **SHAPE)
    path = OldModel.of(source, layout).write(tmp_path / "old.bin", family, version)
    with ModelFile(path) as file, pytest.raises(UnsupportedError, match=reason) as caught:
        map_tensors(file)
    assert f"{path}: this {label(family, version)} file cannot run" in str(caught.value)
    assert f"llamacpp convert {path} NEW.gguf" in str(caught.value)


# ---- Parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["old.bin", "old.bin.1"])
@pytest.mark.parametrize("family", ["ggml", "ggmf"])
def test_any_part_opens_the_whole_model(
    source: Path, tmp_path: Path, family: str, given: str
) -> None:
    path = OldModel.of(source, 1).write(tmp_path / "old.bin", family, 1, n_parts=2)
    with ModelFile(tmp_path / given) as file, ModelFile(source) as whole:
        paths = [part.mapping.path for part in file.parts]
        assert paths == [path, tmp_path / "old.bin.1"]
        assert file.nbytes == sum(part.stat().st_size for part in paths)
        assert {n: t.shape for n, t in file.tensors.items()} == {
            n: t.shape for n, t in whole.tensors.items()
        }
        with pytest.raises(UnsupportedError, match="llamacpp convert"):
            map_tensors(file)


def test_a_missing_part_is_named(source: Path, tmp_path: Path) -> None:
    path = OldModel.of(source, 1).write(tmp_path / "old.bin", "ggmf", 1, n_parts=2)
    (tmp_path / "old.bin.1").unlink()
    with pytest.raises(ModelFileError, match=r"old\.bin\.1: missing; it is part 2 of 2"):
        ModelFile(path)


@pytest.mark.parametrize("name", ["1", ".1", "old.1", "old.9", "old.1.2"])
def test_a_first_part_may_be_named_like_another(source: Path, tmp_path: Path, name: str) -> None:
    path = OldModel.of(source, 1).write(tmp_path / name, "ggml", 0, n_parts=2)
    with ModelFile(path) as file:
        assert [part.mapping.path.name for part in file.parts] == [name, f"{name}.1"]


def test_parts_of_different_models_are_refused(source: Path, tmp_path: Path) -> None:
    model = OldModel.of(source, 1)
    path = model.write(tmp_path / "old.bin", "ggmf", 1, n_parts=2)
    other = tmp_path / "old.bin.1"
    good = other.read_bytes()
    model.scores[-1] -= 1
    for bad in (
        source.read_bytes(),
        model.encode("ggmf", 1, 1, 2),
        OldModel.of(source, 1).encode("ggmf", 1),
    ):
        other.write_bytes(bad)
        with pytest.raises(FormatError, match=r"old\.bin\.1: .*parts of different models"):
            ModelFile(path)
    other.write_bytes(good[:-1])
    with pytest.raises(FormatError, match=r"old\.bin\.1: tensor .* ends at byte"):
        ModelFile(path)


def test_a_change_in_any_part_is_noticed(source: Path, tmp_path: Path) -> None:
    path = OldModel.of(source, 1).write(tmp_path / "old.bin", "ggmf", 1, n_parts=2)
    with ModelFile(path) as file:
        file.check_unchanged()
        os.truncate(tmp_path / "old.bin.1", 10)
        with pytest.raises(ModelFileError, match="changed while in use"):
            file.check_unchanged()
