"""What a comparison found: every sample, and what it was taken on. `results.json` is this."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llamacpp.measure.speed import Test

__all__ = ["Case", "Memory", "Model", "Results", "ResultsError", "Round", "Test"]

FORMAT = 1  # of results.json


class ResultsError(Exception):
    """A folder holds no results that this version reads."""


@dataclass
class Round:
    """One turn of every engine.

    Attributes:
        order: who ran after whom.
        seconds: by engine.
        limits: bytes and operations per second that the machine allowed between two rounds, as
            {"read_bandwidth", "int8_peak"}; None if they were not probed.
        others: processors' worth of time that other programs had during the round; None if the
            system does not tell.
        disturbed: engines that never had the processors for themselves, however often they ran.
    """

    order: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    limits: dict[str, float] | None = None
    others: float | None = None
    disturbed: list[str] = field(default_factory=list)


@dataclass
class Case:
    """One test of one model with one number of threads. `errors` tells by engine what failed."""

    model: str
    threads: int
    test: Test
    rounds: list[Round] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        label: what it is called in tables; unique.
        path: where it was.
        nbytes: size of all its files.
        types: bytes by tensor type, largest first.
        weight_bytes: that one token must read; None if not told.
        operations: that one token costs, a multiplication and an addition being two.
        prompt_operations: the same without the output matrix, which a prompt needs but once.
        position_bytes: keys and values of one position of a sequence.
        page_cache: what `bench.page_cache` did; None if nothing.
    """

    label: str
    path: str
    nbytes: int
    types: dict[str, int] = field(default_factory=dict)
    weight_bytes: float | None = None
    operations: float | None = None
    prompt_operations: float | None = None
    position_bytes: float | None = None
    page_cache: dict[str, Any] | None = None


@dataclass(frozen=True)
class Memory:
    """What an engine's process held after the tests of a group, in bytes; seconds to open."""

    model: str
    threads: int
    n_seq: int
    engine: str
    open_seconds: float
    anonymous: int | None = None
    mapped: int | None = None
    pss: int | None = None


@dataclass
class Results:
    """A whole comparison.

    Attributes:
        name: of the folder.
        started: local time, ISO 8601.
        command: the command line.
        settings: rounds, pause and the like.
        machine: see `bench.machine`.
        engines: what each says of itself, in the order of the tables; the first is the baseline.
        missing: why an engine was left out, or "limits".
        models, memory, cases: what was measured, in order.
        complete: False for one that was interrupted.
        seconds: that it took.
    """

    name: str
    started: str
    command: list[str]
    settings: dict[str, Any]
    machine: dict[str, Any]
    engines: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0

    def model(self, label: str) -> Model:
        """The model of that label."""
        return next(model for model in self.models if model.label == label)

    def save(self, folder: Path) -> None:
        """Write results.json, in full or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".results.{os.getpid()}.tmp"
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(folder / "results.json")

    @classmethod
    def load(cls, folder: Path) -> Results:
        """Read results.json.

        Raises:
            ResultsError: there is none, or none that this version reads.
        """
        path = folder / "results.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise ResultsError(f"{path} was written by another version of bench.compare")
            data["models"] = [Model(**model) for model in data["models"]]
            data["memory"] = [Memory(**memory) for memory in data["memory"]]
            data["cases"] = [_case(**case) for case in data["cases"]]
            return cls(**data)
        except OSError as error:
            raise ResultsError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(f"{path} is no results of bench.compare ({error})") from error


def _case(test: dict[str, int], rounds: list[dict[str, Any]], **rest: Any) -> Case:
    return Case(test=Test(**test), rounds=[Round(**taken) for taken in rounds], **rest)
