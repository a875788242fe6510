"""The SentencePiece BPE vocabulary, and documents as token ids in the chat format.

A conversation is `<s>` and then, for each turn, `<|role|>` text `<|end|>`; a plain story is
`<s>` text `</s>`. Every text is encoded alone, with the leading space that LLaMA vocabularies
put before it, as readers of GGUF files encode the text between two control tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import sentencepiece as spm

from .chat import Turn

ROLE_TOKENS = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
END_TOKEN = "<|end|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The roles are system, user and assistant.') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
IGNORED = -100
"""The target of a position that the loss leaves out."""


def train_vocabulary(texts: Iterable[str], path: Path, n_vocab: int) -> None:
    """Write a SentencePiece model of exactly `n_vocab` pieces, bytes and control tokens in it."""
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(path.with_suffix("")),
        model_type="bpe",
        vocab_size=n_vocab,
        byte_fallback=True,
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        character_coverage=1.0,
        max_sentence_length=8192,
        control_symbols=[*ROLE_TOKENS.values(), END_TOKEN],
        minloglevel=2,
    )


class Encoder:
    """Texts and documents to token ids."""

    def __init__(self, path: Path) -> None:
        self.spm = spm.SentencePieceProcessor(model_file=str(path))
        self.bos: int = self.spm.bos_id()
        self.eos: int = self.spm.eos_id()
        self.roles = {role: self.spm.piece_to_id(t) for role, t in ROLE_TOKENS.items()}
        self.end: int = self.spm.piece_to_id(END_TOKEN)

    def text(self, text: str) -> list[int]:
        ids: list[int] = self.spm.encode(text)
        return ids

    def decode(self, ids: list[int]) -> str:
        text: str = self.spm.decode(ids)
        return text

    def prompt(self, turns: list[Turn]) -> list[int]:
        """The tokens of finished turns and of the assistant's opening token."""
        ids = [self.bos]
        for role, text in turns:
            ids += [self.roles[role], *self.text(text), self.end]
        return [*ids, self.roles["assistant"]]

    def document(self, turns: list[Turn]) -> tuple[list[int], list[bool]]:
        """(token ids, whether the loss counts each): only what the model is to say counts."""
        ids, counted = [self.bos], [False]
        for role, text in turns:
            body = self.text(text)
            if role:
                ids.append(self.roles[role])
                counted.append(False)
            ids += [*body, self.end if role else self.eos]
            counted += [role in ("", "assistant")] * (len(body) + 1)
        return ids, counted
