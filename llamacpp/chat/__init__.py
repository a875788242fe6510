"""From messages to a prompt: the file's own template in a sandbox, or a format by name."""

from __future__ import annotations

from llamacpp.chat.formats import ChatFormat, format_names, resolve
from llamacpp.chat.template import ChatTemplate

__all__ = ["ChatFormat", "ChatTemplate", "format_names", "resolve"]
