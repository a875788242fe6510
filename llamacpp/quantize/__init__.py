"""Quantizing: which tensor of a model becomes which type, and how much each column matters."""

from llamacpp.quantize.importance import Importance, read_importance, write_importance
from llamacpp.quantize.mixes import MIXES, SMALLEST
from llamacpp.quantize.model import Plan, PlannedTensor, plan_model, quantize_model

__all__ = [
    "MIXES",
    "SMALLEST",
    "Importance",
    "Plan",
    "PlannedTensor",
    "plan_model",
    "quantize_model",
    "read_importance",
    "write_importance",
]
