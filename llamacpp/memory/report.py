"""What this process holds in memory, and what of a model the page cache holds."""

from __future__ import annotations

from dataclasses import dataclass

from llamacpp.format import ModelFile
from llamacpp.memory.pages import evicted_bytes, resident_pages
from llamacpp.memory.process import page_faults, process_memory, proportional_memory

__all__ = ["MemoryReport", "memory_report"]


@dataclass(frozen=True)
class MemoryReport:
    """What is in memory now, in bytes; None stands for what the system does not tell.

    Attributes:
        private, shared: of this process; see `llamacpp.memory.process.Memory`.
        proportional: the same with each page divided by the number of processes that map it (Pss).
        minor_faults, major_faults: of this process since it began; major ones waited for a disk.
            They do not count pages: one fault maps many.
        nbytes: of all tensors.
        resident: of those, what the page cache holds, whoever put it there.
        evicted: of the files, what left the page cache so recently that more memory would have
            kept it.
        tensors: what the page cache holds of each tensor, by name.
    """

    private: int | None
    shared: int | None
    proportional: int | None
    minor_faults: int
    major_faults: int
    nbytes: int
    resident: int | None
    evicted: int | None
    tensors: dict[str, int] | None

    def __str__(self) -> str:
        cached = "not told to this user," if self.resident is None else _size(self.resident)
        lines = [
            f"private       {_size(self.private)}: KV cache, scratch, the interpreter",
            f"shared        {_size(self.shared)}: mapped files, which all processes share",
            f"proportional  {_size(self.proportional)}: both, a page divided by its users (Pss)",
            f"page cache    {cached} of {_size(self.nbytes)} of tensors",
            f"page faults   {self.minor_faults:,} minor, {self.major_faults:,} major",
        ]
        if self.evicted is not None:
            lines.append(f"evicted       {_size(self.evicted)} that more memory would have kept")
        return "\n".join(lines)


def memory_report(file: ModelFile) -> MemoryReport:
    """Look at this process and at an open model file."""
    held, faults, pages = process_memory(), page_faults(), resident_pages(file)
    infos = file.tensors.values()
    tensors = None if pages is None else {info.name: pages.nbytes_of(info) for info in infos}
    return MemoryReport(
        private=held.private if held else None,
        shared=held.shared if held else None,
        proportional=proportional_memory(),
        minor_faults=faults.minor,
        major_faults=faults.major,
        nbytes=sum(info.nbytes for info in infos),
        resident=None if tensors is None else sum(tensors.values()),
        evicted=evicted_bytes(file),
        tensors=tensors,
    )


def _size(nbytes: int | None) -> str:
    return "unknown" if nbytes is None else f"{nbytes / 1e6:,.1f} MB"
