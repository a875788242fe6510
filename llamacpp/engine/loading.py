"""How a model's weights come into memory: mapped, fetched ahead, kept, or through a window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llamacpp import ops
from llamacpp.errors import InvalidArgumentError
from llamacpp.format import ModelFile
from llamacpp.memory.limit import memory_budget, parse_size
from llamacpp.memory.process import process_memory
from llamacpp.models.config import Config
from llamacpp.models.layers import Network, mixtures
from llamacpp.models.registry import load_network
from llamacpp.residency import Plan, Window, plan
from llamacpp.tensors import Tensor, map_tensors

__all__ = ["SWEEP_TOKENS", "Loading", "load_within", "mapped_in_order"]

SWEEP_TOKENS = 2048  # of a prompt that share a pass over weights that come from the disk
ROOM = 48 << 20  # for the interpreter, libraries, tokenizer and logits
USABLE = 0.98  # of a limit: page tables and other memory of the system count as well
DEFAULT_CTX = 2048  # positions to leave room for, where the user names no number


@dataclass(frozen=True)
class Loading:
    """How the weights of a model come into memory.

    Attributes:
        memory_limit: what this process may hold: bytes, or text such as "6G". Weights beyond it
            are read from the file anew for every pass. "auto": what its cgroup and the machine
            leave; None: no limit. Experts are not counted: the system keeps those that are chosen
            often in what memory is free.
        prefetch: whether a thread fetches the weights in the order of use: True, as soon as the
            model is open; "auto", from the first session on, unless they are there already; False,
            they come when touched, as experts do in "auto" as well.
        mlock: whether the system is asked to keep them in memory.
        use_mmap: False: read the file into private memory when it is opened, for network file
            systems and files that others write to. There is no limit then.
        progress: called as ``progress(done, total)``, in bytes, while it is read; what it raises
            ends the opening.
        n_ctx: positions of KV cache that the limit must leave room for.
    """

    memory_limit: int | str | None = "auto"
    prefetch: bool | Literal["auto"] = "auto"
    mlock: bool = False
    use_mmap: bool = True
    progress: Callable[[int, int], object] | None = None
    n_ctx: int | None = None

    def __post_init__(self) -> None:
        if self.prefetch not in (True, False, "auto"):
            raise InvalidArgumentError(
                f"prefetch must be True, False or 'auto', not {self.prefetch!r}"
            )
        if self.n_ctx is not None and not 1 <= self.n_ctx < 1 << 31:
            raise InvalidArgumentError(f"n_ctx must be from 1 to {2**31 - 1}, not {self.n_ctx}")

    def limit(self) -> int | None:
        """Bytes that the process may hold; None: as many as it likes.

        Raises:
            InvalidArgumentError: the limit is no size.
        """
        if self.memory_limit is None or not self.use_mmap:
            return None
        return memory_budget() if self.memory_limit == "auto" else parse_size(self.memory_limit)


def load_within(file: ModelFile, loading: Loading) -> tuple[Network, Plan]:
    """Prepare a network whose weights are mapped, as far as the limit allows.

    Raises:
        InvalidArgumentError: the limit is too low for this model.
        As `load_network`; ModelFileError: a file cannot be opened again.
    """
    tensors = map_tensors(file)
    network = load_network(file, tensors)
    apart = {tensor.name for experts in mixtures(network) for tensor in experts.chosen}
    layers = [product for product in network.products() if product is not network.output]
    matrices = [t for p in layers for t in p.tensors if len(t.shape) == 2 and t.name not in apart]
    embedding = "token_embd.weight"  # of which a pass reads a few rows
    others = {embedding, *apart, *(tensor.name for tensor in matrices)}
    always = [tensor for tensor in network.weights.values() if tensor.name not in others]
    if tensors[embedding] in network.output.tensors:
        always.append(tensors[embedding])
    limit = loading.limit()
    if limit is None:
        limit = 2**63
    usable = int(limit * USABLE) - _private() - _session(network.config, loading.n_ctx)
    chosen = plan(matrices, always, usable)
    if chosen.streamed:
        for part in file.parts:
            part.mapping.read_exactly()
        window = Window(chosen, file)
        network = load_network(file, {**tensors, **window.tensors})
        network.window = window
    return network, chosen


def mapped_in_order(network: Network, *, experts: bool = False) -> list[Tensor]:
    """The weights that are used in the mapping, in the order of use; of experts, if asked for."""
    apart = {t for e in mixtures(network) for t in e.chosen} if not experts else set()
    apart |= set(network.window.tensors.values()) if network.window else set()
    return [t for product in network.products() for t in product.tensors if t not in apart]


def _session(config: Config, n_ctx: int | None) -> int:
    """What a session takes: KV cache in F16, activations of a prompt, and all else but weights."""
    n_pos = min(config.n_ctx_train, DEFAULT_CTX) if n_ctx is None else n_ctx
    head = ops.cache_bytes(ops.F16, (config.head_dim_k, config.head_dim_v), n_pos)
    cache = config.n_layer * config.n_kv_head * sum(head)
    widths = 3 * config.n_embd + 2 * config.n_ff + 2 * config.n_head * config.head_dim_k
    widths += config.n_expert + 2 * config.n_expert_used * (config.n_ff_expert or config.n_ff)
    return cache + min(n_pos, SWEEP_TOKENS) * 4 * widths + ROOM


def _private() -> int:
    """Bytes that only this process has; 0 where the system does not tell."""
    held = process_memory()
    return held.private if held else 0
