"""`Model.memory_report()`: what the process and the page cache hold, in numbers and words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llamacpp import Model, ModelFileError
from llamacpp.memory import MemoryReport


def test_a_model_in_use(model: Model) -> None:
    model.session().eval([1, 2, 3])
    report = model.memory_report()
    assert isinstance(report, MemoryReport)
    assert report.nbytes == sum(info.nbytes for info in model.file.tensors.values())
    assert report.resident == report.nbytes  # it was written just now, and read
    assert report.tensors == {name: info.nbytes for name, info in model.file.tensors.items()}
    assert None not in (report.private, report.shared, report.proportional)
    assert report.private + report.shared >= report.proportional > report.private  # type: ignore[operator]
    assert report.minor_faults > 0


def test_faults_go_on(model: Model) -> None:
    before = model.memory_report()
    held = b"x" * (64 << 20)
    after = model.memory_report()
    assert after.minor_faults > before.minor_faults
    assert after.private > before.private  # type: ignore[operator]
    assert len(held) == 64 << 20


def test_it_says_so_in_words(model: Model) -> None:
    report = replace(
        model.memory_report(), private=1_500_000, shared=20_000_000, proportional=None,
        minor_faults=1234, major_faults=5, nbytes=30_000_000, resident=25_000_000, evicted=None,
    )  # fmt: skip
    assert str(report).splitlines() == [
        "private       1.5 MB: KV cache, scratch, the interpreter",
        "shared        20.0 MB: mapped files, which all processes share",
        "proportional  unknown: both, a page divided by its users (Pss)",
        "page cache    25.0 MB of 30.0 MB of tensors",
        "page faults   1,234 minor, 5 major",
    ]
    assert str(replace(report, evicted=2_000_000)).splitlines()[-1] == (
        "evicted       2.0 MB that more memory would have kept"
    )
    assert "page cache    not told to this user, of 30.0 MB" in str(replace(report, resident=None))


def test_a_closed_model_has_no_report(model: Model) -> None:
    model.close()
    with pytest.raises(ModelFileError, match="closed"):
        model.memory_report()
