"""Tokenizers of Hugging Face models to vocabularies of GGUF: the same ids for the same texts."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from gguf_bytes import BytesSource, model
from tokenizers import Regex, decoders, normalizers, pre_tokenizers, processors, trainers

from llamacpp import FormatError, ModelFileError, UnsupportedError
from llamacpp.convert.vocabulary import _EXPRESSIONS, read_vocabulary
from llamacpp.format.gguf import parse_header
from llamacpp.tokenizer import Tokenizer, load_tokenizer

CORPUS = [
    "the other day they gathered together there, and then the weather changed",
    "she sells sea shells by the sea shore. It's what we've done: they're 12345 and 678!",
    "Größe naïve über café, привет мир как дела, 你好世界 你好\n\n  indented\n\ttabbed  ",
] * 5
WORDS = [
    "the",
    " other",
    "  ",
    "\n",
    "é",
    "你好",
    "12345",
    "!?",
    "'s",
    "DON'T",
    "<x>",
    "\t",
    "привет",
]


def train_bpe(folder: Path, steps: Any = None, **model_options: Any) -> tokenizers.Tokenizer:
    """A byte-level BPE tokenizer.json with two special tokens and one that is not."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(**model_options))
    made.pre_tokenizer = steps or pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=["<s>", "</s>"], show_progress=False,
        ),
    )  # fmt: skip
    made.add_tokens(["<x>"])
    made.save(str(folder / "tokenizer.json"))
    return made


def load(folder: Path, n_vocab: int, pre: str | None = None, **config: Any) -> Tokenizer:
    keys = read_vocabulary(folder, config, n_vocab, pre)
    tokenizer = load_tokenizer(parse_header(BytesSource(model(keys))).metadata)
    assert tokenizer is not None
    return tokenizer


def texts(seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(200)]


def split(expression: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


STEPS = {
    "gpt-2": None,
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    **{name: split(expression) for expression, name in _EXPRESSIONS.items()},
}


@pytest.mark.parametrize("name", STEPS)
def test_byte_level_bpe_is_recognised_and_gives_the_same_ids(tmp_path: Path, name: str) -> None:
    options = {"ignore_merges": True} if name == "llama-bpe" else {}
    theirs = train_bpe(tmp_path, STEPS[name], **options)
    keys = read_vocabulary(tmp_path, {}, 310, None)
    assert keys["tokenizer.ggml.pre"] == name
    ours = load(tmp_path, 310)
    assert ours.n_vocab == 310
    for text in texts():
        want = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_bos=False, parse_special=True) == want, text


def test_words_without_the_merges_of_whole_ones_are_dbrx(tmp_path: Path) -> None:
    train_bpe(tmp_path, STEPS["llama-bpe"])
    assert read_vocabulary(tmp_path, {}, 310, None)["tokenizer.ggml.pre"] == "dbrx"


def test_what_is_not_recognised_can_be_named(tmp_path: Path) -> None:
    train_bpe(tmp_path, split(r"\p{L}+|\s+"))
    with pytest.raises(UnsupportedError, match="--pre names a pre-tokenizer"):
        load(tmp_path, 310)
    assert load(tmp_path, 310, pre="qwen2").n_vocab == 310


def train_pieces(folder: Path, **options: Any) -> sentencepiece.SentencePieceProcessor:
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(CORPUS * 20), model_writer=out, model_type="bpe", vocab_size=400,
        byte_fallback=True, character_coverage=1.0, normalization_rule_name="identity",
        remove_extra_whitespaces=False, minloglevel=2, hard_vocab_limit=False, **options,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


@pytest.mark.parametrize("prefix", [True, False])
def test_a_sentencepiece_model_gives_the_same_ids(tmp_path: Path, prefix: bool) -> None:
    theirs = train_pieces(tmp_path, add_dummy_prefix=prefix)
    size = theirs.get_piece_size()
    ours = load(tmp_path, size + 5)
    assert ours.add_space_prefix is prefix
    assert (ours.unk_id, ours.bos_id, ours.eos_id) == (0, 1, 2)
    for text in texts(1):
        want = theirs.encode(text)
        assert ours.encode(text, add_bos=False) == want, text


def test_sentencepiece_written_as_tokenizer_json_gives_the_same_ids(tmp_path: Path) -> None:
    """As of Mistral and Gemma: merges, byte fallback, spaces as U+2581."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420, show_progress=False,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))],
        ),
    )  # fmt: skip
    described = json.loads(made.to_str())
    described["added_tokens"] = [t for t in described["added_tokens"] if t["id"] < 3]
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    keys = read_vocabulary(tmp_path, {}, 420, None)
    assert keys["tokenizer.ggml.model"] == "llama"
    assert keys["tokenizer.ggml.add_space_prefix"] is True
    ours = load(tmp_path, 420)
    for text in texts(2):
        if "<" not in text:
            want = theirs.encode(text, add_special_tokens=False).ids
            assert ours.encode(text, add_bos=False) == want, text


def test_special_tokens_and_templates_are_taken_along(tmp_path: Path) -> None:
    made = train_bpe(tmp_path)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    settings = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "chat_template": [
            {"name": "default", "template": "{{ messages }}"},
            {"name": "tool_use", "template": "{{ tools }}"},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "generation_config.json").write_text('{"pad_token_id": 2}')
    keys = read_vocabulary(tmp_path, {}, 310, None)
    assert keys["tokenizer.chat_template"] == "{{ messages }}"
    assert keys["tokenizer.chat_template.tool_use"] == "{{ tools }}"
    assert keys["tokenizer.ggml.padding_token_id"] == 2
    ours = load(tmp_path, 310)
    assert (ours.bos_id, ours.eos_id, ours.add_bos, ours.add_eos) == (0, 1, True, False)
    assert ours.special_id("<x>") == made.token_to_id("<x>")
    (tmp_path / "chat_template.jinja").write_text("{{ 1 }}")
    assert read_vocabulary(tmp_path, {}, 310, None)["tokenizer.chat_template"] == "{{ 1 }}"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("tokenizer.model", b"\xff\xff", FormatError, "no SentencePiece model"),
        ("tokenizer.model", b"", FormatError, "it has no pieces"),
        ("tokenizer.json", b"{", FormatError, "is no JSON"),
        ("tokenizer.json", b'{"model": {"vocab": 3}}', FormatError, "is damaged"),
        ("tokenizer.json", b'{"model": {"type": "Unigram"}}', UnsupportedError, "Unigram"),
        ("other", b"", ModelFileError, "neither"),
    ],
)
def test_what_is_no_tokenizer(
    tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        load(tmp_path, 310)


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    train_bpe(tmp_path)
    with pytest.raises(FormatError, match=r"(beyond the|but the embedding) 290 rows"):
        load(tmp_path, 290)
