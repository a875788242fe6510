"""Training within a budget of minutes or of steps, always ending on an annealed schedule."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from .batching import Encoded, batches
from .network import Llama, Shape
from .optimiser import Optimiser

LOG_EVERY, SAVE_EVERY = 20, 100
FIRST_PHASE = 0.37
"""The share of steps or minutes that the first phase gets."""

WARM_UP, FLAT = 0.02, 0.4
"""Shares of a phase: linear warm-up ends at the first, the linear decay starts at the second."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with an optimiser of its own: `steps` if given, else `minutes`."""

    seed: int
    anneal: bool
    minutes: float
    steps: int | None = None

    def used(self, step: int, seconds: float) -> float:
        """The share of the phase that is over."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)

    def schedule(self, used: float) -> float:
        """The learning rates' factor: up, flat, and with `anneal` down to a fiftieth."""
        factor = min(1.0, max(used, 1e-3) / WARM_UP)
        return min(factor, max(0.02, (1 - used) / (1 - FLAT))) if self.anneal else factor


def phases(minutes: float, steps: int | None) -> tuple[Phase, Phase]:
    """The language first, then, with the hint of `Llama.align_output`, what is said of whom."""
    first = None if steps is None else round(FIRST_PHASE * steps)
    rest = None if steps is None or first is None else steps - first
    return (
        Phase(1, anneal=False, minutes=FIRST_PHASE * minutes, steps=first),
        Phase(2, anneal=True, minutes=(1 - FIRST_PHASE) * minutes, steps=rest),
    )


@torch.no_grad()
def held_out_loss(model: Llama, documents: Encoded, limit: int) -> float:
    """Mean loss in nats per counted token of the first `limit` documents, each by itself."""
    total, count = 0.0, 0
    for i in range(min(limit, len(documents))):
        tokens, targets = documents.batch(np.array([i]))
        here = int((targets >= 0).sum())
        total, count = total + float(model.loss(tokens, targets)) * here, count + here
    return total / count


def save(model: Llama, path: Path, facts: dict[str, float]) -> None:
    """The weights and how they came about, replaced as a whole."""
    draft = path.with_suffix(".tmp")
    torch.save({"weights": model.state_dict(), "shape": model.shape.as_dict(), **facts}, draft)
    draft.replace(path)


def load(path: Path) -> tuple[Llama, dict[str, float]]:
    """The model of a checkpoint, and its facts."""
    state = torch.load(path, weights_only=True)
    model = Llama(Shape(**state.pop("shape")))
    model.load_state_dict(state.pop("weights"))
    return model, state


class Averager:
    """Sums gradients over the workers in one flat buffer; workers stay equal bit for bit."""

    def __init__(self, model: Llama) -> None:
        self.parameters = list(model.parameters())
        self.flat = torch.zeros(sum(p.numel() for p in self.parameters) + 2)

    @torch.no_grad()
    def __call__(self, loss: float, used: float) -> tuple[float, float]:
        """Average the gradients; (the mean loss, the first worker's share of the budget)."""
        workers = dist.get_world_size()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        torch.cat([g.flatten() for g in gradients], out=self.flat[:-2])
        self.flat[-2], self.flat[-1] = loss, used * workers if dist.get_rank() == 0 else 0.0
        dist.all_reduce(self.flat)
        self.flat /= workers
        start = 0
        for gradient in gradients:
            gradient.copy_(self.flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return float(self.flat[-2]), float(self.flat[-1])


def train(
    rank: int, workers: int, data: Encoded, model: Llama, out: Path, phase: Phase, n_tokens: int
) -> None:
    """Train `model` for a phase as worker `rank`; the first one writes to `out`."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{out.resolve()}/workers", rank=rank, world_size=workers
    )
    model = copy.deepcopy(model)  # what `spawn` hands over lies in memory that the workers share
    optimiser, average = Optimiser(model), Averager(model)
    start = time.monotonic()
    stories = batches(data, n_tokens, workers, phase.seed)
    step, seen, used, loss_sum = 0, 0, 0.0, 0.0
    while used < 1:
        tokens, targets = next(stories)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(tokens[rank::workers], targets[rank::workers])
        loss.backward()  # type: ignore[no-untyped-call]
        seconds = time.monotonic() - start
        mean_loss, used = average(loss.item(), phase.used(step, seconds))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(phase.schedule(used))
        loss_sum, step, seen = loss_sum + mean_loss, step + 1, seen + tokens.numel()
        facts = {
            "phase": phase.seed,
            "step": step,
            "tokens": seen,
            "minutes": round(seconds / 60, 1),
        }
        if rank == 0 and step % LOG_EVERY == 0:
            report = {**facts, "used": round(used, 4), "loss": round(loss_sum / LOG_EVERY, 4)}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(report) + "\n")
            loss_sum = 0.0
        if rank == 0 and (step % SAVE_EVERY == 0 or used >= 1):
            save(model, out / "model.pt", facts)
    dist.destroy_process_group()
