"""The name of the processor, as Linux knows it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from llamacpp.measure import machine


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some  CPU @ 3GHz\n", "Some CPU @ 3GHz"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\nCPU implementer\t: 0x41\n",
         "implementer 0x41 part 0xd0c"),
    ],
)  # fmt: skip
def test_processors_are_named_as_linux_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str, name: str
) -> None:
    (tmp_path / "cpuinfo").write_text(info)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert machine.cpu_model() == name


def test_where_linux_does_not_tell_python_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(platform, "processor", lambda: "abacus")
    assert machine.cpu_model() == "abacus"
