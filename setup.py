"""Build llamacpp._lk, the one compiled extension. Everything else is in pyproject.toml."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext


class build_ext_on_all_cores(build_ext):  # noqa: N801 (setuptools names commands so)
    """Compiles the sources of the extension side by side; setuptools takes one at a time."""

    def build_extension(self, ext: Any) -> None:
        """Build one extension."""
        compile_some = self.compiler.compile

        def compile_all(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_some([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extension(ext)


setup(
    cffi_modules=["csrc/ffi_build.py:ffi"],
    cmdclass={"build_ext": build_ext_on_all_cores},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
