"""The harness's side of an engine: a process, what it is asked, and what becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

__all__ = ["Engine", "EngineError", "EngineSpec"]

ROOT = Path(__file__).resolve().parent.parent.parent
LOG_LINES, LOG_BYTES = 8, 4096  # of standard error, shown when an engine fails
MAX_ANSWER = 1 << 20  # bytes
GRACE = 2.0  # seconds that a process has to leave before it is made to


@dataclass(frozen=True)
class EngineSpec:
    """How to start an engine.

    Attributes:
        name: what it is called in tables.
        command: the process that speaks the protocol.
        environment: variables that it gets in addition.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def adapter(
        cls, name: str, python: str, adapter: str, environment: dict[str, str] | None = None
    ) -> EngineSpec:
        """An engine of an interpreter, behind an adapter class given as FILE:CLASS."""
        command = (python, "-m", "bench.engines", adapter)
        return cls(name, command, environment or {})


class EngineError(Exception):
    """An engine did not do what it was asked to.

    Attributes:
        engine: its name.
        kind: "missing" (not installed), "refused" (says why), "died" (is gone; so is a process that
            broke the protocol or took too long, which is then ended).
        reason: what happened, in a line.
        log: the last lines of its standard error.
    """

    def __init__(self, engine: str, kind: str, reason: str, log: str = "") -> None:
        super().__init__(f"{engine} {kind}: {reason}")
        self.engine, self.kind, self.reason, self.log = engine, kind, reason, log


class Engine:
    """A running engine. Leaving its `with` block ends the process, whatever it is doing.

    Its process has a session of its own: a Ctrl-C on the terminal reaches the harness alone, which
    ends its engines.
    """

    def __init__(self, spec: EngineSpec, timeout: float) -> None:
        """Start the process.

        Args:
            spec: what to start.
            timeout: seconds that an answer may take.

        Raises:
            EngineError: it cannot be started.
        """
        self.name, self._timeout = spec.name, timeout
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        self._unread = b""
        try:
            self._process = subprocess.Popen(
                spec.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
                cwd=ROOT, env={**os.environ, **spec.environment}, bufsize=0, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._log.close()
            reason = f"cannot start {spec.command[0]}: {error.strerror}"
            raise EngineError(spec.name, "missing", reason) from error

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            EngineError: it refused, it died, its answer is none, or it took too long.
        """
        request = json.dumps({"do": do, **arguments}) + "\n"
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # if it is gone, reading tells
            self._process.stdin.write(request.encode())
        line = self._read_line()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._end(f"it answered {do} with {line[:80]!r} instead of JSON")
        if "error" in answer:
            raise self._refusal(answer["error"])
        return answer

    def log(self) -> str:
        """The last lines of its standard error."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_BYTES))
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def _read_line(self) -> bytes:
        deadline = time.monotonic() + self._timeout
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._end(f"no answer in {self._timeout:g} s")
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                self._unread += piece
                if len(self._unread) > MAX_ANSWER:
                    raise self._end("its answer does not end")
                if not piece:
                    raise self._end(self._how_it_ended())
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _refusal(self, error: Any) -> EngineError:
        error = error if isinstance(error, dict) else {}
        kind, message = str(error.get("type")), str(error.get("message"))
        if kind == "MissingEngineError":
            return EngineError(self.name, "missing", message, self.log())
        reason = message if kind == "RefusedError" else f"{kind}: {message}"
        return EngineError(self.name, "refused", reason, self.log())

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "it closed its standard output"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _end(self, reason: str) -> EngineError:
        """End the process, and make the error that says so."""
        self._kill()
        return EngineError(self.name, "died", reason, self.log())

    def _kill(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process and let go of its streams."""
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            assert stream is not None
            stream.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
