"""The pre-tokenizers that files name in `tokenizer.ggml.pre`: how a text is cut into words.

Names and defaults as llama.cpp publishes them; the expressions are the models' own where it adapts
them to its engine. docs/tokenizers.md has the table.
"""

from __future__ import annotations

from typing import NamedTuple

from llamacpp._native import lib
from llamacpp.errors import UnsupportedError

__all__ = ["PRE_TOKENIZERS", "PreTokenizer", "pre_tokenizer"]


class PreTokenizer(NamedTuple):
    """How the byte-level BPE models of one name take a text.

    Attributes:
        splitter: which words a text is cut into (`enum lk_pretok`, csrc/bpe/split.c).
        ignore_merges: a word that is a token is that token, whatever the merges give.
        add_bos: a text begins with the BOS token, unless the file says otherwise.
        characters: merges begin with characters instead of bytes, and spaces are U+2581.
        whole_lines: line feeds that are a token are that token, whatever the merges give.
    """

    splitter: int
    ignore_merges: bool = False
    add_bos: bool = False
    characters: bool = False
    whole_lines: bool = False


# Models that cut alike stand together.
_NAMES = {
    PreTokenizer(lib.LK_PRETOK_DEFAULT): "default",
    PreTokenizer(lib.LK_PRETOK_FALCON): "falcon",
    PreTokenizer(lib.LK_PRETOK_GPT2): (
        "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat a.x-4.0 mellum modern-bert "
        "exaone4 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe"
    ),
    PreTokenizer(lib.LK_PRETOK_SMOLLM): (
        "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2"
    ),
    PreTokenizer(lib.LK_PRETOK_CHAMELEON, add_bos=True): "chameleon",
    PreTokenizer(lib.LK_PRETOK_LLAMA3, ignore_merges=True, add_bos=True): (
        "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano"
    ),
    PreTokenizer(lib.LK_PRETOK_LLAMA3): "dbrx smaug-bpe glm4 chatglm-bpe",
    PreTokenizer(lib.LK_PRETOK_MINICPM5, ignore_merges=True): "minicpm5",
    PreTokenizer(lib.LK_PRETOK_JAIS2): "jais-2",
    PreTokenizer(lib.LK_PRETOK_QWEN2): (
        "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 "
        "bailingmoe bailingmoe2 llada-moe"
    ),
    PreTokenizer(lib.LK_PRETOK_LAGUNA): "laguna",
    PreTokenizer(lib.LK_PRETOK_QWEN35): "qwen35",
    PreTokenizer(lib.LK_PRETOK_UFAKZEKA): "ufakzeka",
    PreTokenizer(lib.LK_PRETOK_SEED_CODER): "seed-coder",
    PreTokenizer(lib.LK_PRETOK_EXAONE_MOE): "exaone-moe",
    PreTokenizer(lib.LK_PRETOK_GPT4O): "gpt-4o llama4 kanana2 talkie minimax-m2",
    PreTokenizer(lib.LK_PRETOK_GPT4O, ignore_merges=True): "granite-embed-multi-97m",
    PreTokenizer(lib.LK_PRETOK_TINY_AYA): "tiny_aya cohere2moe",
    PreTokenizer(lib.LK_PRETOK_YOUTU, ignore_merges=True): "youtu",
    PreTokenizer(lib.LK_PRETOK_TEKKEN, ignore_merges=True, add_bos=True): "tekken",
    PreTokenizer(lib.LK_PRETOK_KIMI_K2): "kimi-k2",
    PreTokenizer(lib.LK_PRETOK_DEEPSEEK_LLM): "deepseek-llm",
    PreTokenizer(lib.LK_PRETOK_DEEPSEEK_CODER): "deepseek-coder",
    PreTokenizer(lib.LK_PRETOK_DEEPSEEK_V3): "deepseek-v3 hunyuan-dense joyai-llm hy_v4",
    PreTokenizer(lib.LK_PRETOK_SPARK): "spark2_5",
    PreTokenizer(lib.LK_PRETOK_AFMOE): "afmoe",
    PreTokenizer(lib.LK_PRETOK_BLOOM): "bloom poro-chat gpt3-finnish",
    PreTokenizer(lib.LK_PRETOK_VIKING): "viking",
    PreTokenizer(lib.LK_PRETOK_SUPERBPE): "superbpe",
    PreTokenizer(lib.LK_PRETOK_LINES, characters=True, whole_lines=True): (
        "gemma4 granite-embed-multi-311m"
    ),
    PreTokenizer(lib.LK_PRETOK_LINES, characters=True): "sarvam-moe",
}

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    name: pre for pre, names in _NAMES.items() for name in names.split()
}


def pre_tokenizer(name: str) -> PreTokenizer:
    """Look up a pre-tokenizer by the name that files give it.

    Raises:
        UnsupportedError: there is none of that name.
    """
    if name not in PRE_TOKENIZERS:
        raise UnsupportedError(
            f"pre-tokenizer {name!r} (tokenizer.ggml.pre) is not supported; supported are "
            + ", ".join(sorted(PRE_TOKENIZERS))
        )
    return PRE_TOKENIZERS[name]
