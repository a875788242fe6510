"""Engines in turn: each is open at once, and what else the machine does meets them all.

A test is a warm-up of every engine, which also fills the depth it starts from, and then rounds in
which each runs once. The order rotates from round to round, since who runs after whom matters: a
pause lets the threads of the one before come to rest, but what it left in the caches stays. After
each round a process that runs no test probes what the machine allows. Before and after each turn it
looks whether the processors run at full pace: a turn that others disturbed is taken again.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from types import TracebackType

from bench.engines.client import Engine, EngineError, EngineSpec
from bench.others import OthersLoad
from bench.progress import Progress
from bench.results import Case, Memory, Model, Round, Test
from bench.words import counted

__all__ = ["Group", "Settings"]

QUIET = 0.96  # of the best pace
BETWEEN_LOOKS = 0.3  # seconds


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        rounds: counted ones, after the warm-up.
        pause: seconds before each run.
        fresh: whether each file is dropped from the page cache and read again first.
        cache_type: of keys and values, "f16", "f32" or "q8_0".
        timeout: seconds that an engine may take for one answer.
        patience: seconds that a turn may take in all, waiting and running again, until the
            processors are its own from beginning to end; 0: whether they are is not looked at.
    """

    rounds: int = 5
    pause: float = 0.1
    fresh: bool = True
    cache_type: str = "f16"
    timeout: float = 1800.0
    patience: float = 120.0


class Group:
    """Every engine, on one model with one number of threads. Leaving the `with` block ends them.

    Args:
        specs: the engines, in the order of the first round.
        probe: the engine that probes limits.
        model: its file.
        n_threads: threads that each uses.
        settings: how to measure.
        progress: where to tell of it.
    """

    def __init__(
        self,
        specs: list[EngineSpec],
        probe: EngineSpec,
        model: Model,
        n_threads: int,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self._specs, self._probe_spec = specs, probe
        self._model, self._n_threads = model, n_threads
        self._settings, self._progress = settings, progress
        self._stack = ExitStack()
        self._engines: dict[str, Engine] = {}
        self._probe: Engine | None = None
        self._gone: dict[str, str] = {}  # for good
        self._refused: dict[str, str] = {}  # the context that is open now
        self._open_seconds: dict[str, float] = {}
        self._best_pace = 0.0

    def __enter__(self) -> Group:
        for spec in self._specs:
            try:
                engine = Engine(spec, self._settings.timeout)
                self._engines[spec.name] = self._stack.enter_context(engine)
            except EngineError as error:
                self._lose(error)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start_probe(self) -> Model:
        """Start the probe of limits and return the model with what a token of it costs.

        Raises:
            EngineError: it cannot tell; there will be no limits.
        """
        probe = self._stack.enter_context(Engine(self._probe_spec, self._settings.timeout))
        probe.ask(
            "open", path=self._model.path, n_threads=self._n_threads, n_ctx=8,
            cache_type=self._settings.cache_type,
        )  # fmt: skip
        probe.ask("limits")  # a warm-up, and whether it can
        model = replace(self._model, **probe.ask("work"))
        self._probe = probe
        return model

    def open(self, n_ctx: int, n_seq: int) -> None:
        """Let every engine load the model, if it has not, and make a context."""
        self._refused = {}
        for name in list(self._engines):
            self._progress.show(f"{self._about()}: {name} opens")
            self._rest()
            try:
                answer = self._engines[name].ask(
                    "open", path=self._model.path, n_threads=self._n_threads, n_ctx=n_ctx,
                    n_seq=n_seq, cache_type=self._settings.cache_type,
                )  # fmt: skip
                self._open_seconds.setdefault(name, answer["seconds"])
            except EngineError as error:
                self._refused[name] = self._lose(error)

    def measure(self, case: Case) -> None:
        """Run the rounds of a test; samples and failures go into `case` as they come."""
        case.errors.update({**self._gone, **self._refused})
        for number in range(self._settings.rounds + 1):
            names = [name for name in self._engines if name not in case.errors]
            first = max(number - 1, 0) % max(len(names), 1)
            taken = Round(names[first:] + names[:first])
            if number:
                case.rounds.append(taken)
            load = OthersLoad([self._engines[name].pid for name in names])
            for name in taken.order:
                what = f"round {number} of {self._settings.rounds}" if number else "warm-up"
                self._progress.show(f"{self._about()}, {case.test.name}, {what}: {name}")
                try:
                    self._turn(name, case.test, number, taken)
                except EngineError as error:
                    case.errors[name] = self._lose(error)
            taken.others = load.cores()
            if number and self._probe is not None:
                taken.limits = self._limits(self._probe)

    def _turn(self, name: str, test: Test, number: int, taken: Round) -> None:
        """Run a test with an engine, again if the processors were not its own; the warm-up once."""
        end = time.monotonic() + self._settings.patience
        while True:
            quiet = self._wait_for_quiet(end)
            self._rest()
            answer = self._engines[name].ask("run", **asdict(test), seed=number)
            taken.seconds[name] = answer["seconds"]
            if number == 0 or (quiet and self._is_quiet()):
                return
            if time.monotonic() >= end:
                taken.disturbed.append(name)
                return

    def _wait_for_quiet(self, end: float) -> bool:
        """Wait until the processors run as fast as they ever did here; False if they do not."""
        while not self._is_quiet():
            if time.monotonic() >= end:
                return False
            time.sleep(BETWEEN_LOOKS)
        return True

    def _is_quiet(self) -> bool:
        """Whether they do. True also if that is not looked at, or cannot be told."""
        if self._settings.patience == 0 or self._probe is None:
            return True
        try:
            pace = self._probe.ask("pace")["operations"]
        except EngineError as error:
            if error.kind != "refused":
                self._no_probe(error)
            return True
        self._best_pace = max(self._best_pace, pace)
        return bool(pace >= QUIET * self._best_pace)

    def memory(self, n_seq: int) -> list[Memory]:
        """What each engine's process holds now."""
        found = []
        for name, seconds in self._open_seconds.items():
            if name in self._engines and name not in self._refused:
                try:
                    held = self._engines[name].ask("memory")
                except EngineError as error:
                    self._lose(error)
                    held = {}
                label, threads = self._model.label, self._n_threads
                found.append(Memory(label, threads, n_seq, name, seconds, **held))
        return found

    def _limits(self, probe: Engine) -> dict[str, float] | None:
        self._progress.show(f"{self._about()}: limits")
        self._rest()
        try:
            return probe.ask("limits")
        except EngineError as error:
            self._no_probe(error)
            return None

    def _no_probe(self, error: EngineError) -> None:
        self._progress.say(f"no more limits: {error}")
        self._probe = None

    def _rest(self) -> None:
        time.sleep(self._settings.pause)

    def _about(self) -> str:
        return f"{self._model.label}, {counted(self._n_threads, 'thread')}"

    def _lose(self, error: EngineError) -> str:
        """Tell of a failure, and do without an engine that is gone; return what to note."""
        self._progress.say(f"{self._about()}: {error}")
        if error.log:
            self._progress.say("".join(f"    | {line}\n" for line in error.log.splitlines())[:-1])
        note = f"{error.kind}: {error.reason}"
        if error.kind != "refused":
            self._gone[error.engine] = note
            if error.engine in self._engines:
                self._engines.pop(error.engine).close()
        return note
