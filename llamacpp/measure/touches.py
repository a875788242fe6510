"""Page faults and page touches of a prompt and some tokens, step by step.

Faults are counted in a plain run, and do not tell how much was touched: the system maps many pages
at one fault, and none at all when they are mapped already. Touches are counted by a trace, in
another run of the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llamacpp import ops
from llamacpp.engine import Model, Session
from llamacpp.memory import MemoryReport, Pages, Trace, memory_report, resident_pages
from llamacpp.memory.process import Faults, page_faults

__all__ = ["Observation", "Step", "observe"]

Show = Callable[[str], object]


@dataclass(frozen=True)
class Step:
    """Tokens that are evaluated together: the prompt, or one token.

    Attributes:
        name: "prompt", "token 1" and so on.
        n_tokens: how many.
        faults: of the process, meanwhile.
        touched_pages: pages of the model file that were read; None if they were not traced.
        touched: bytes of each tensor that lie on them, by name; None likewise.
    """

    name: str
    n_tokens: int
    faults: Faults
    touched_pages: int | None
    touched: dict[str, int] | None


@dataclass(frozen=True)
class Observation:
    """What was seen.

    Attributes:
        steps: in order.
        memory: after the plain run.
        resident: pages in the page cache, at that time; None if the system does not tell.
        touched: pages touched in any step; None if they were not traced.
    """

    steps: list[Step]
    memory: MemoryReport
    resident: Pages | None
    touched: Pages | None


def observe(
    model: Model,
    prompt: Sequence[int],
    n_gen: int,
    *,
    trace: bool = False,
    show: Show = lambda text: None,
    **options: Any,
) -> Observation:
    """Evaluate a prompt, then the most probable tokens one after another, and watch the pages.

    Args:
        model: what to run.
        prompt: token ids.
        n_gen: tokens after it; what ends a text does not end this.
        trace: whether to do it again, to find which pages are touched.
        show: called with a few words before each step.
        options: see `Model.session`.

    Raises:
        As `Session.eval` and `Trace` do.
    """
    session = model.session(**options)
    pieces, steps = [list(prompt)], list[Step]()
    for i in range(1 + n_gen):
        name = f"token {i}" if i else "prompt"
        show(f"{name}: counting faults")
        before = page_faults()
        logits = session.eval(pieces[-1])
        steps.append(Step(name, len(pieces[-1]), page_faults() - before, None, None))
        pieces.append([ops.argmax(logits[0])])
    memory, resident = memory_report(model.file), resident_pages(model.file)
    if not trace:
        return Observation(steps, memory, resident, None)
    steps, touched = _trace(model, session, steps, pieces, show)
    return Observation(steps, memory, resident, touched)


def _trace(
    model: Model, session: Session, steps: list[Step], pieces: list[list[int]], show: Show
) -> tuple[list[Step], Pages]:
    """The same steps once more, with the pages that each touches; and the pages of all."""
    session.reset()
    infos, traced = model.file.tensors.values(), list[Step]()
    with Trace(model.file) as trace:
        of_all = trace.touched()
        for step, tokens in zip(steps, pieces, strict=False):  # the last piece is not evaluated
            show(f"{step.name}: tracing touches")
            trace.reset()
            session.eval(tokens)
            pages = trace.touched()
            of_all |= pages
            nbytes = {info.name: pages.nbytes_of(info) for info in infos}
            traced.append(replace(step, touched_pages=pages.count, touched=nbytes))
    return traced, of_all
