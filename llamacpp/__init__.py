"""Run LLaMA-family language models on the CPU, from the model file itself.

>>> import llamacpp
>>> with llamacpp.Model.open(llamacpp.bundled_model()) as model:
...     session = model.session()
...     prompt = model.tokenizer.encode("Once upon a time", add_bos=True)
...     tokens = list(session.generate(prompt, max_tokens=20))

Names are imported when first used, so that ``import llamacpp`` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llamacpp._native import set_bus_guard
    from llamacpp.api.llama import Llama
    from llamacpp.engine import Model, Session
    from llamacpp.engine.embedder import Embedder
    from llamacpp.errors import (
        Cancelled,
        ContextOverflowError,
        FormatError,
        InvalidArgumentError,
        KernelError,
        LlamaError,
        ModelFileError,
        SessionBusyError,
        StateError,
        TemplateError,
        UnsupportedError,
    )
    from llamacpp.sampling import (
        LogitsProcessorList,
        MinTokensLogitsProcessor,
        SamplingParams,
        StoppingCriteriaList,
    )

__version__ = "0.1.0"

_HOMES = {
    "Llama": "api.llama",
    "Model": "engine",
    "Session": "engine",
    "Embedder": "engine.embedder",
    "Cancelled": "errors",
    "ContextOverflowError": "errors",
    "FormatError": "errors",
    "InvalidArgumentError": "errors",
    "KernelError": "errors",
    "LlamaError": "errors",
    "ModelFileError": "errors",
    "SessionBusyError": "errors",
    "StateError": "errors",
    "TemplateError": "errors",
    "UnsupportedError": "errors",
    "LogitsProcessorList": "sampling",
    "MinTokensLogitsProcessor": "sampling",
    "SamplingParams": "sampling",
    "StoppingCriteriaList": "sampling",
    "set_bus_guard": "_native",
}

__all__ = [
    "Cancelled",
    "ContextOverflowError",
    "Embedder",
    "FormatError",
    "InvalidArgumentError",
    "KernelError",
    "Llama",
    "LlamaError",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "Model",
    "ModelFileError",
    "SamplingParams",
    "Session",
    "SessionBusyError",
    "StateError",
    "StoppingCriteriaList",
    "TemplateError",
    "UnsupportedError",
    "bundled_model",
    "set_bus_guard",
]


def bundled_model() -> str:
    """Path of the small story-telling model that comes with the package."""
    from importlib.resources import files

    return str(files("llamacpp") / "data" / "stories.gguf")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"llamacpp.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'llamacpp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
