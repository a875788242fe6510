"""Which weights are in memory: fetched ahead, kept, or passing through a window."""

from llamacpp.residency.plan import Plan, plan
from llamacpp.residency.prefetch import Prefetch, are_resident, fetch
from llamacpp.residency.window import Window

__all__ = [
    "Plan",
    "Prefetch",
    "Window",
    "are_resident",
    "fetch",
    "plan",
]
