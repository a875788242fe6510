"""Models of 2023, in place and converted: the logits of the GGUF file of the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type
from legacy_models import OldModel
from random_models import write_random_model

from llamacpp import Llama, Model
from llamacpp.errors import UnsupportedError
from llamacpp.format.legacy.convert import convert_legacy
from tests.small_models import talker_vocabulary

EPS = {1: 1e-6, 2: 1e-6, 3: 5e-6}  # what the layouts' files are taken to mean
TOKENS = [1, 5, 280, 77, 3, 260, 123, 45, 6, 7, 270]
SHAPE = {"n_layer": 2, "n_kv_head": 4}
FORMATS = [("ggml", 0, 1, 1), ("ggmf", 1, 1, 2), ("ggjt", 1, 1, 1), ("ggjt", 2, 2, 1),
           ("ggjt", 3, 3, 1)]  # fmt: skip
KINDS = [Type.F32, Type.F16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]


@pytest.mark.parametrize(("family", "version", "layout", "n_parts"), FORMATS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda t: t.name)
def test_a_converted_model_has_the_logits_of_its_gguf(
    tmp_path: Path, kind: Type, family: str, version: int, layout: int, n_parts: int
) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, **SHAPE)
    old = OldModel.of(source, layout).write(tmp_path / "old.bin", family, version, n_parts)
    convert_legacy(old, tmp_path / "new.gguf", norm_eps=1e-5)
    with Model.open(source) as one, Model.open(tmp_path / "new.gguf") as two:
        wanted = one.session().eval(TOKENS, "all")
        assert (two.session().eval(TOKENS, "all") == wanted).all()
        assert two.copied_weight_bytes == 0


@pytest.mark.parametrize(
    ("kind", "version", "layout"),
    [
        *[(kind, 3, 3) for kind in (*KINDS, Type.Q4_K, Type.Q6_K)],
        *[(kind, 2, 2) for kind in (Type.F16, Type.Q5_0, Type.Q5_1)],
        (Type.F16, 1, 1),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_ggjt_of_todays_layouts_runs_in_place(
    tmp_path: Path, kind: Type, version: int, layout: int
) -> None:
    source = write_random_model(tmp_path / "m.gguf", kind, **SHAPE)
    old = OldModel.of(source, layout).write(tmp_path / "old.bin", "ggjt", version)
    convert_legacy(old, tmp_path / "new.gguf")
    with Model.open(old) as in_place, Model.open(tmp_path / "new.gguf") as converted:
        assert in_place.config.norm_eps == EPS[layout]
        eps = converted.config.norm_eps  # a float32 by now
        assert replace(in_place.config, norm_eps=eps) == converted.config
        wanted = converted.session().eval(TOKENS, "all")
        assert (in_place.session().eval(TOKENS, "all") == wanted).all()
        assert in_place.copied_weight_bytes == 0
        assert {t.address % 32 for t in in_place.weights.values()} == {0}


def test_heads_shared_by_a_group_run(tmp_path: Path) -> None:
    source = write_random_model(tmp_path / "m.gguf", Type.Q4_0, n_kv_head=2)
    old = OldModel.of(source, 3).write(tmp_path / "old.bin", "ggjt", 3)
    with Model.open(source) as one, Model.open(old) as two:
        wanted = one.session().eval(TOKENS, "all")  # 1e-5 in both
        assert (two.session().eval(TOKENS, "all") == wanted).all()


def test_old_files_talk(tmp_path: Path) -> None:
    source = write_random_model(
        tmp_path / "m.gguf", Type.F32, n_kv_head=4, vocabulary=talker_vocabulary(None)
    )
    old = OldModel.of(source, 3)
    in_place = old.write(tmp_path / "old.bin", "ggjt", 3)
    convert_legacy(old.write(tmp_path / "older.bin", "ggmf", 1), tmp_path / "new.gguf")
    with Llama(in_place, n_ctx=64) as one, Llama(tmp_path / "new.gguf", n_ctx=64) as two:
        assert one.n_ctx() == 64
        ids = [llama.tokenize(b" the other \xe4\xbd\xa0\n!") for llama in (one, two)]
        assert ids[0] == ids[1]
        assert one.detokenize(ids[0]) == " the other \u4f60\n!".encode()
        result = one("the other", max_tokens=8, temperature=0)
        assert result["usage"]["completion_tokens"] > 0


def test_a_vocabulary_alone_opens_from_any_old_file(tmp_path: Path) -> None:
    source = write_random_model(
        tmp_path / "m.gguf", Type.Q4_0, n_kv_head=4, vocabulary=talker_vocabulary(None)
    )
    old = OldModel.of(source, 1).write(tmp_path / "old.bin", "ggml", 0)
    with Llama(old, vocab_only=True) as llama:
        assert llama.detokenize(llama.tokenize(b"the other")) == b"the other"
    with pytest.raises(UnsupportedError, match=r"llamacpp convert .*old\.bin NEW\.gguf"):
        Model.open(old)
