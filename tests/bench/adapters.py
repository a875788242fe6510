"""Adapters of engines that take no time, or all of it; FAKE_PIDS is a file for their processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.engines.protocol import Answer, Worker


class Quick(Worker):
    """Takes a thousandth of a second for each call."""

    nap = 0.001

    def about(self) -> Answer:
        if "FAKE_PIDS" in os.environ:
            with Path(os.environ["FAKE_PIDS"]).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
        return {"name": type(self).__name__, "version": "1", "build": "none"}

    def load(self, path: str, n_threads: int) -> None:
        self.about()
        self.n_vocab = 10

    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        pass

    def prompt(self, tokens: list[int], pos: int, seq: int) -> None:
        time.sleep(self.nap)

    def step(self, tokens: list[int], pos: int) -> None:
        time.sleep(self.nap)

    def rewind(self, n: int, n_seq: int) -> None:
        pass


class Stuck(Quick):
    """Never comes back, and says so in a file beside FAKE_PIDS."""

    def stop(self) -> None:
        Path(os.environ["FAKE_PIDS"] + ".stuck").touch()
        time.sleep(600)


class StuckInDecoding(Stuck):
    """Answers prompts, but not the counted rounds of decoding."""

    def _run(self, n_gen: int = 0, seed: int = 0, **test: int) -> Answer:
        if n_gen and seed:
            self.stop()
        return super()._run(n_gen=n_gen, seed=seed, **test)


class StuckInOpening(Stuck):
    """Does not get as far as a context."""

    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        self.stop()
