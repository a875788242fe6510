"""Every error this library raises on purpose.

    LlamaError                    a RuntimeError
    ├── ModelFileError            the file cannot be opened, read or mapped
    │   └── FormatError           its bytes break the format's rules
    ├── UnsupportedError          valid, but something we do not run (type, architecture, option)
    ├── InvalidArgumentError      a parameter is out of range or of the wrong kind; a ValueError too
    ├── ContextOverflowError      more tokens than the context holds
    ├── SessionBusyError          one session used by two threads at once
    ├── StateError                a saved state that does not fit this model, or is damaged
    ├── TemplateError             the chat template failed or exceeded its limits
    ├── Cancelled                 the caller's cancellation was honoured
    └── KernelError               the compiled core refused a call

Messages say what is wrong with what, and what to do about it where something can be done.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "ContextOverflowError",
    "FormatError",
    "InvalidArgumentError",
    "KernelError",
    "LlamaError",
    "ModelFileError",
    "SessionBusyError",
    "StateError",
    "TemplateError",
    "UnsupportedError",
]


class LlamaError(RuntimeError):
    """Base of every error that llamacpp raises on purpose."""


class ModelFileError(LlamaError):
    """A model file cannot be opened, read or mapped, or changed while in use."""


class FormatError(ModelFileError):
    """A model file's bytes break the rules of its format."""


class UnsupportedError(LlamaError):
    """The input is valid, but names something this library does not run."""


class InvalidArgumentError(LlamaError, ValueError):
    """An argument is out of range or of the wrong kind."""


class ContextOverflowError(LlamaError):
    """The tokens do not fit into the session's context."""


class SessionBusyError(LlamaError):
    """A session is already in use by another thread."""


class StateError(LlamaError):
    """A saved state is damaged or belongs to another model."""


class TemplateError(LlamaError):
    """A chat template failed to render or exceeded its limits."""


class Cancelled(LlamaError):  # noqa: N818  named like the standard library's CancelledError family
    """The caller asked for the running work to stop."""


class KernelError(LlamaError):
    """The compiled core refused a call; a bug in this library if you see it."""
