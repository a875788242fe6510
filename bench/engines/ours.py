"""The engine of this project: `Model` and `Session`. Its process also probes the limits."""

from __future__ import annotations

from bench.engines.protocol import Answer, Worker
from llamacpp import Model, Session, __version__
from llamacpp._native import active_level, available_levels
from llamacpp.measure import speed
from llamacpp.measure.limits import int8_peak, pace, read_bandwidth

POSITIONS = 1 << 10  # of a cache: a multiple of the blocks that it is stored in


class Ours(Worker):
    """The engine of this checkout; LLAMACPP_ISA in its environment forces a level of kernels."""

    def __init__(self) -> None:
        self._model: Model | None = None
        self._session: Session | None = None

    def about(self) -> Answer:
        levels = ", ".join(available_levels())
        build = f"level {active_level()} of {levels}"
        return {"name": "llamacpp", "version": __version__, "build": build}

    @property
    def model(self) -> Model:
        """The loaded model."""
        assert self._model is not None
        return self._model

    @property
    def session(self) -> Session:
        """The open session."""
        assert self._session is not None
        return self._session

    def load(self, path: str, n_threads: int) -> None:
        self._session = None
        self._model = Model.open(path, n_threads=n_threads, n_ctx=self.n_ctx)
        self.n_vocab = self._model.n_vocab

    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        self._session = None
        self._session = self.model.session(n_ctx, n_seq=n_seq, cache_type=cache_type)

    def prompt(self, tokens: list[int], pos: int, seq: int) -> None:
        speed.prompt(self.session, tokens, pos, seq)

    def step(self, tokens: list[int], pos: int) -> None:
        speed.step(self.session, tokens, pos)

    def rewind(self, n: int, n_seq: int) -> None:
        for seq in range(n_seq):
            self.session.rewind(n, seq)

    def limits(self) -> Answer:
        threads = self.model.n_threads
        return {
            "read_bandwidth": read_bandwidth(self.model, threads),
            "int8_peak": int8_peak(threads),
        }

    def pace(self) -> Answer:
        return {"operations": pace(self.model.n_threads)}

    def work(self) -> Answer:
        return {
            "weight_bytes": speed.weight_bytes_per_token(self.model),
            "operations": speed.operations_per_token(self.model),
            "prompt_operations": speed.operations_per_token(self.model, rows=0),
            "position_bytes": speed.kv_bytes(self.session, POSITIONS) / POSITIONS,
        }
