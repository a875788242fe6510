"""Check what an sdist and a wheel hold: python tools/check_dist.py SDIST WHEEL."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

MAX_WHEEL_BYTES = 12 << 20  # the bundled model takes up to half of it


def check_sdist(path: Path) -> list[str]:
    """Faults of a source distribution."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = [
        "csrc/ffi_build.py", "csrc/lk_api.h", "csrc/kernels.inc", "csrc/bpe/unicode.inc",
        "llamacpp/data/stories.gguf", "llamacpp/py.typed", "tests/conftest.py",
        "tests/kernels/checkasm/Makefile", "setup.py", "pyproject.toml", "Makefile", "LICENSE",
        "CHANGELOG.md", "README.md",
    ]  # fmt: skip
    faults = [f"{name} is missing" for name in needed if name not in names]
    return faults + [f"{name} is built, not source" for name in names if is_built(name)]


def is_built(name: str) -> bool:
    """Whether a build makes this file."""
    return bool(re.search(r"\.(so|o|pyc)$|__pycache__|^build/", name))


def check_wheel(path: Path) -> list[str]:
    """Faults of a wheel."""
    faults = []
    if not re.search(r"-cp310-abi3-(many)?linux\w*_(x86_64|aarch64)\.whl$", path.name):
        faults.append(f"{path.name} is not named as a wheel for every CPython from 3.10 on")
    if path.stat().st_size > MAX_WHEEL_BYTES:
        faults.append(f"{path.stat().st_size} bytes are too many")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    needed = [
        "llamacpp/_lk.abi3.so", "llamacpp/_lk.pyi", "llamacpp/data/stories.gguf",
        "llamacpp/py.typed",
    ]  # fmt: skip
    faults += [f"{name} is missing" for name in needed if name not in names]
    stray = [n for n in names if not re.match(r"llamacpp(-[\d.]+\.dist-info)?/", n)]
    junk = [n for n in names if n.endswith((".c", ".h", ".inc", ".o", ".pyc"))]
    return faults + [f"{name} does not belong" for name in sorted({*stray, *junk})]


def main(sdist: str, wheel: str) -> int:
    """Print the faults of both."""
    status = 0
    for path, check in ((Path(sdist), check_sdist), (Path(wheel), check_wheel)):
        faults = check(path)
        status |= bool(faults)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {'; '.join(faults) or 'ok'}")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
