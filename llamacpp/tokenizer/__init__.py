"""Text to token ids and back, by the vocabulary that a model file carries."""

from __future__ import annotations

from llamacpp.errors import UnsupportedError
from llamacpp.format.metadata import Metadata
from llamacpp.tokenizer.base import Tokenizer
from llamacpp.tokenizer.stream import TokenStream, Utf8Stream

__all__ = ["TokenStream", "Tokenizer", "Utf8Stream", "load_tokenizer"]


def load_tokenizer(metadata: Metadata) -> Tokenizer | None:
    """Make the tokenizer that a file's metadata describes.

    Returns:
        None where the file has none (`tokenizer.ggml.model` is "none", "no_vocab" or absent).

    Raises:
        FormatError: the vocabulary contradicts itself.
        UnsupportedError: a kind of tokenizer, or a pre-tokenizer, that is not known here.
    """
    model = metadata.string("tokenizer.ggml.model", "none")
    if model in ("none", "no_vocab"):
        return None
    if model == "llama":
        from llamacpp.tokenizer.spm import SentencePieceTokenizer

        return SentencePieceTokenizer(metadata)
    if model in ("gpt2", "gemma4"):
        from llamacpp.tokenizer.bpe import BpeTokenizer

        return BpeTokenizer(metadata)
    if model == "bert":
        from llamacpp.tokenizer.wordpiece import WordPieceTokenizer

        return WordPieceTokenizer(metadata)
    if model == "t5":
        from llamacpp.tokenizer.unigram import UnigramTokenizer

        return UnigramTokenizer(metadata)
    raise UnsupportedError(
        f"tokenizer.ggml.model is {model!r}; supported are 'llama' (SentencePiece's BPE), 'gpt2' "
        "(byte-level BPE), 'gemma4' (BPE of characters), 'bert' (WordPiece) and 't5' "
        "(SentencePiece's unigram models). The model still runs on token ids"
    )
