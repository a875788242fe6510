"""What is in memory of a model, and of this process; which pages of a model are touched."""

from __future__ import annotations

from llamacpp.memory.pages import Pages, resident_pages
from llamacpp.memory.report import MemoryReport, memory_report
from llamacpp.memory.trace import Trace

__all__ = ["MemoryReport", "Pages", "Trace", "memory_report", "resident_pages"]
