"""Encoders of Hugging Face to GGUF files: names, vocabularies, pooling, and what may go wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' for tests of conversion")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from llamacpp import FormatError, Llama, Model, ModelFileError, UnsupportedError
from llamacpp.convert import convert_hf
from tests import hf_encoders, hf_models

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PROSE = (
    "the other day they gathered together there, and then the weather changed; she sells sea "
    "shells by the sea shore. It's what we've done: they're 12345 and 678! Größe naïve café"
)
TEXTS = ["The weather changed.", "Naïve CAFÉ, 6712 shells!", "?", "zzz unknown ☃ words", PROSE]


def train(folder: Path, lowercase: bool = True) -> int:
    """A tokenizer as BERT's, as transformers saves it; how many tokens it has."""
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=150, special_tokens=SPECIAL, show_progress=False, min_frequency=1
    )
    made.train_from_iterator([PROSE] * 9, trainer)
    cls, sep = (("[CLS]", 2), ("[SEP]", 3))
    made.post_processor = processors.BertProcessing(sep, cls)
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, **{f"{name}_token": text for name, text in names.items()}
    )
    wrapped.save_pretrained(folder)
    return made.get_vocab_size()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    n_vocab = train(tmp_path / "model")
    options = hf_encoders.BASE | {"vocab_size": n_vocab + 3}
    return hf_models.save(tmp_path / "model", hf_encoders.make("Bert", options))


def edit(path: Path, **changes: Any) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | changes))


def convert(folder: Path, **options: Any) -> Path:
    target = folder.with_suffix(".gguf")
    convert_hf(folder, target, overwrite=True, **{"type": "f32", **options})
    return target


@pytest.mark.parametrize("lowercase", [True, False])
def test_texts_become_what_transformers_makes_of_them(tmp_path: Path, lowercase: bool) -> None:
    n_vocab = train(tmp_path / "model", lowercase)
    network = hf_encoders.make("Bert", hf_encoders.BASE | {"vocab_size": n_vocab})
    folder = hf_models.save(tmp_path / "model", network)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    with Llama(convert(folder)) as llama:
        texts = [text for text in TEXTS if len(theirs(text)["input_ids"]) <= 64]
        assert len(texts) >= 4
        got = llama.embed(texts)
        for text, vector in zip(texts, got, strict=True):
            ids = theirs(text)["input_ids"]
            assert [*llama.tokenize(text), 3] == ids
            want = hf_encoders.hidden(network, ids).mean(0)
            assert hf_encoders.error(np.array(vector), want) <= 1e-6


def test_a_vocabulary_of_lines_is_the_same(folder: Path) -> None:
    with Model.open(convert(folder)) as model:
        assert model.tokenizer is not None
        want = [model.tokenizer.encode(text) for text in TEXTS]
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    lines = sorted(vocab, key=vocab.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Model.open(convert(folder)) as model:
        assert model.tokenizer is not None
        assert [model.tokenizer.encode(text) for text in TEXTS] == want
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    with Model.open(convert(folder)) as model:
        assert model.tokenizer is not None
        assert model.tokenizer.encode("THE") == [2, 1, 3]
        assert model.metadata["tokenizer.ggml.normalizer.strip_accents"] is False


def test_keys_are_those_that_llama_cpp_reads(folder: Path) -> None:
    reader = gguf.GGUFReader(convert(folder))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "bert"
    assert fields["bert.attention.causal"] is False
    assert fields["bert.attention.layer_norm_epsilon"] == pytest.approx(1e-12)
    assert fields["bert.context_length"] == 64
    keys = ("padding", "unknown", "cls", "seperator", "mask")
    assert [fields[f"tokenizer.ggml.{key}_token_id"] for key in keys] == [0, 1, 2, 3, 4]
    assert fields["tokenizer.ggml.token_type_count"] == 2
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens[:5] == SPECIAL
    assert "\u2581the" in tokens
    assert not any(token.startswith("##") for token in tokens)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, 3).mapping.values()
    assert {t.name.rsplit(".", 1)[0] for t in reader.tensors} <= {name for _, name in names}


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_positions_and_types_stay_floats(folder: Path, kind: str) -> None:
    by_name = {
        t.name: t.tensor_type.name for t in gguf.GGUFReader(convert(folder, type=kind)).tensors
    }
    assert by_name["position_embd.weight"] == by_name["token_types.weight"] == "F32"
    assert by_name["token_embd_norm.bias"] == "F32"
    # rows of 48 are no multiple of 32
    assert by_name["blk.0.attn_q.weight"] == "F16"


def test_old_names_mean_the_same(folder: Path) -> None:
    """LayerNorm.gamma and beta, what pre-training needs, positions as a buffer."""
    with Model.open(convert(folder)) as model:
        want = model.embedder().embed(TEXTS[:3])
    tensors = load_file(folder / "model.safetensors")
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, tensor in tensors.items():
        for today, before in old.items():
            name = name.replace(today, before)
        renamed[f"bert.{name}"] = tensor
    renamed["bert.embeddings.position_ids"] = torch.arange(64)[None]
    renamed["cls.seq_relationship.weight"] = torch.zeros(2, 48)
    save_file(renamed, folder / "model.safetensors")
    edit(folder / "config.json", architectures=["BertForPreTraining"])
    with Model.open(convert(folder)) as model:
        np.testing.assert_array_equal(model.embedder().embed(TEXTS[:3]), want)


def test_the_configuration_that_nomic_embed_came_with(tmp_path: Path) -> None:
    network = hf_encoders.make("NomicBert")
    folder = hf_models.save(tmp_path / "model", network)
    want = convert(folder, vocabulary=False).read_bytes()
    old = {
        "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "n_embd": 48, "n_head": 4,
        "n_inner": 72, "n_layer": 3, "n_positions": 8192, "max_trained_positions": 64,
        "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False, "activation_function": "swiglu", "prenorm": False,
        "use_rms_norm": False, "causal": False, "qkv_proj_bias": False, "type_vocab_size": 2,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(old))
    assert convert(folder, vocabulary=False).read_bytes() == want
    edit(folder / "config.json", rotary_emb_interleaved=True)
    with pytest.raises(UnsupportedError, match="rotary_emb_interleaved True is not supported"):
        convert(folder, vocabulary=False)


# ---- pooling ------------------------------------------------------------------------------------

FLAGS = ("mean_tokens", "cls_token", "lasttoken", "max_tokens")


def write_pooling(folder: Path, config: Any) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))


def flags(*on: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 48} | {f"pooling_mode_{f}": f in on for f in FLAGS}


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (flags("mean_tokens"), "mean"),
        (flags("cls_token"), "cls"),
        (flags("lasttoken"), "last"),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_pooling_is_that_of_sentence_transformers(folder: Path, config: Any, want: str) -> None:
    write_pooling(folder, config)
    modules = [
        {"idx": i, "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(("Transformer", "Pooling", "Normalize"))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    with Model.open(convert(folder)) as model:
        assert model.embedder().pooling == want


@pytest.mark.parametrize(
    "config", [flags("max_tokens"), flags("mean_tokens", "cls_token"), {"pooling_mode": "max"}, {}]
)
def test_other_poolings_are_refused(folder: Path, config: Any) -> None:
    write_pooling(folder, config)
    with pytest.raises(UnsupportedError, match="only one of mean, cls, last"):
        convert(folder)


def test_what_comes_behind_the_pooling_is_refused(folder: Path) -> None:
    path = folder / "modules.json"
    path.write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(UnsupportedError, match=r"modules\.json: 'Dense' is not supported"):
        convert(folder)
    path.write_text('{"type": 3}')
    with pytest.raises(FormatError, match="is no list of JSON objects"):
        convert(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "gelu_new"}, "activation 'gelu_new' is not supported in bert"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder True"),
    ],
)
def test_configurations_that_cannot_be(folder: Path, changes: Any, message: str) -> None:
    edit(folder / "config.json", **changes)
    with pytest.raises(UnsupportedError, match=message):
        convert(folder)


def test_vocabularies_that_cannot_be(folder: Path) -> None:
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    for part, value in (("normalizer", None), ("pre_tokenizer", {"type": "Whitespace"})):
        path.write_text(json.dumps(described | {part: value}))
        with pytest.raises(UnsupportedError, match="WordPiece, but not as BERT has it"):
            convert(folder)
    path.unlink()
    with pytest.raises(ModelFileError, match=r"nor vocab\.txt"):
        convert(folder)
    (folder / "vocab.txt").write_bytes(b"\xff\n")
    with pytest.raises(FormatError, match="is no UTF-8"):
        convert(folder)
