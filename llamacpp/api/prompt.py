"""Prompts: from text or token ids to what a session evaluates."""

from __future__ import annotations

from collections.abc import Sequence

from llamacpp.engine import Session
from llamacpp.errors import ContextOverflowError, InvalidArgumentError
from llamacpp.tokenizer import Tokenizer

__all__ = ["check_room", "checked_ids", "text_tokens"]


def text_tokens(tokenizer: Tokenizer, text: str | bytes) -> list[int]:
    """Tokens of a text to be continued.

    Control tokens spelt out in it are read as such. The BOS token comes first where the file wants
    it, once even if the text spells it out, and always if there is nothing else; no EOS token ends
    a text that is to go on.

    Raises:
        InvalidArgumentError: there is no text, and the vocabulary has no BOS token.
    """
    tokens = tokenizer.encode(text, add_bos=False, add_eos=False, parse_special=True)
    bos = tokenizer.bos_id
    if bos is not None and (not tokens or (tokenizer.add_bos and tokens[0] != bos)):
        tokens.insert(0, bos)
    if not tokens:
        raise InvalidArgumentError("the prompt is empty, and this model has no BOS token")
    return tokens


def checked_ids(tokens: Sequence[int], n_vocab: int) -> list[int]:
    """A prompt given as token ids, as a list.

    Raises:
        InvalidArgumentError: it is empty or no sequence of ids below `n_vocab`.
    """
    try:
        if isinstance(tokens, (bytes, bytearray)):
            raise TypeError
        ids = [token.__index__() for token in tokens]
    except (TypeError, AttributeError):
        raise InvalidArgumentError(
            f"the prompt is a {type(tokens).__name__}; it must be a str or a list of token ids"
        ) from None
    if not ids:
        raise InvalidArgumentError("the prompt is an empty list; give at least one token")
    for token in ids:
        if not 0 <= token < n_vocab:
            raise InvalidArgumentError(f"token {token} is outside the vocabulary of {n_vocab}")
    return ids


def check_room(session: Session, n_prompt: int) -> None:
    """Raise ContextOverflowError for a prompt longer than the context."""
    if n_prompt > session.n_ctx:
        raise ContextOverflowError(
            f"the prompt has {n_prompt} tokens and does not fit into a context of {session.n_ctx};"
            " use a larger context, or a shorter prompt"
        )
