"""A small random model that can talk: a SentencePiece vocabulary and a chat template."""

from __future__ import annotations

from pathlib import Path

from gguf import GGMLQuantizationType as Type
from gguf_bytes import Value
from random_models import write_random_model

from tests.tokenizer.vocabularies import CONTROL, spm_metadata

# ChatML, with a first line that shows which template was used.
TEMPLATE = (
    "{%- if messages[0].role == 'teacher' -%}"
    "{{- raise_exception('there are no teachers here') -}}{%- endif -%}"
    "{%- for m in messages -%}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def talker_vocabulary(template: str | None = TEMPLATE) -> dict[str, Value]:
    """The keys of a tokenizer (without "tokenizer.")."""
    vocabulary = spm_metadata()
    tokens, scores, types = (list(vocabulary[k]) for k in ("tokens", "scores", "token_type"))  # type: ignore[arg-type]
    vocabulary["tokens"] = [*tokens, "<|im_start|>", "<|im_end|>"]
    vocabulary["scores"] = [*scores, 0.0, 0.0]
    vocabulary["token_type"] = [*types, CONTROL, CONTROL]
    keys = {f"ggml.{key}": value for key, value in vocabulary.items()}
    return keys if template is None else {**keys, "chat_template": template}


def write_talker(
    path: Path, *, template: str | None = TEMPLATE, n_ctx: int = 256, seed: int = 0
) -> Path:
    """Write an F32 model with that vocabulary; what it says is noise, but always the same."""
    return write_random_model(
        path, Type.F32, n_embd=64, n_ff=96, n_head=2, n_kv_head=1, head_dim=32, n_ctx=n_ctx,
        vocabulary=talker_vocabulary(template), seed=seed,
    )  # fmt: skip
