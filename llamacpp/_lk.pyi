"""The compiled extension, as cffi builds it from csrc/lk_api.h."""

from typing import Any

ffi: Any
lib: Any
