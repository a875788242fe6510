"""Texts from a network in float32, to look at: sampling from the whole distribution."""

from __future__ import annotations

import torch

from .network import Llama
from .vocabulary import Encoder

STORY_PROMPT = "Once upon a time"
CHAT_PROMPTS = (
    "Tell me a story about a fox who lost a button.",
    "Tell me a story about a mouse named Nora and a bear.",
    "Hello! Who are you?",
)
NEW_TOKENS = 400


@torch.no_grad()
def continuation(model: Llama, encoder: Encoder, ids: list[int], temperature: float) -> str:
    """What follows `ids` until an end token or NEW_TOKENS; temperature 0 is greedy."""
    out: list[int] = []
    while len(out) < NEW_TOKENS and len(ids) + len(out) < model.shape.n_ctx:
        logits = model(torch.tensor([ids + out]))[0, -1]
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial((logits / temperature).softmax(-1), 1))
        if token in (encoder.eos, encoder.end):
            break
        out.append(token)
    return encoder.decode(out)


def samples(model: Llama, encoder: Encoder, seed: int) -> list[tuple[str, float, str]]:
    """(prompt, temperature, text) for the standard prompts."""
    story = [encoder.bos, *encoder.text(STORY_PROMPT)]
    cases = [(STORY_PROMPT, t, story) for t in (0.0, 0.8)]
    cases += [(p, 0.8, encoder.prompt([("user", p)])) for p in CHAT_PROMPTS]
    texts = []
    for prompt, temperature, ids in cases:
        torch.manual_seed(seed)
        texts.append((prompt, temperature, continuation(model, encoder, ids, temperature)))
    return texts
