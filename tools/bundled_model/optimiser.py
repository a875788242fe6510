"""Muon for the layers' matrices and AdamW for the rest, on one schedule.

Muon (Jordan et al., 2024, kellerjordan.github.io/posts/muon): momentum, then the update is
replaced by the nearest semi-orthogonal matrix, found with a quintic Newton-Schulz iteration.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MUON_RATE, MUON_DECAY, MOMENTUM = 0.02, 0.02, 0.95
ADAM_RATE, ADAM_DECAY = 4e-3, 0.01


def orthogonalise(update: Tensor, steps: int = 5) -> Tensor:
    """Singular values of each matrix in (n, rows, columns) brought close to one."""
    a, b, c = NEWTON_SCHULZ
    tall = update.shape[-2] > update.shape[-1]
    x = update.mT if tall else update
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    x = x.float()
    return x.mT if tall else x


class Optimiser:
    """One step for all parameters; `scale` in (0, 1] is the schedule's place."""

    def __init__(self, model: nn.Module) -> None:
        named = list(model.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and name.startswith("blk.")]
        others = [p for name, p in named if p.ndim != 2 or not name.startswith("blk.")]
        shapes = sorted({tuple(p.shape) for p in matrices})
        self.groups = [[p for p in matrices if tuple(p.shape) == shape] for shape in shapes]
        self.momenta = [torch.zeros(len(g), *g[0].shape) for g in self.groups]
        self.adam = torch.optim.AdamW(
            others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=ADAM_DECAY
        )

    @torch.no_grad()
    def step(self, scale: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = ADAM_RATE * scale
        self.adam.step()
        self.adam.zero_grad()
        for parameters, momentum in zip(self.groups, self.momenta, strict=True):
            gradient = torch.stack([p.grad for p in parameters if p.grad is not None])
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalise(gradient.lerp(momentum, MOMENTUM))
            rows, columns = parameters[0].shape
            rate = MUON_RATE * scale
            for p, u in zip(parameters, update, strict=True):
                p.mul_(1 - rate * MUON_DECAY).add_(u, alpha=-rate * max(1, rows / columns) ** 0.5)
                p.grad = None
