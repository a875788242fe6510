"""A bounded window through which weights pass from the file, always ahead of their use.

Reader threads go round the streamed tensors in the order of use, pass after pass, and read each
into its slot as soon as that is free: past the page cache where the file system allows, so that
nothing kept there is dropped for it. The disk rests only when every slot is full.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from llamacpp.errors import ModelFileError
from llamacpp.format import ModelFile
from llamacpp.format.mapping import DirectFile
from llamacpp.format.pages import advise_huge_pages
from llamacpp.residency.plan import PAGE, SLOTS, Plan
from llamacpp.tensors import Tensor

__all__ = ["Window"]

READERS = 4  # reads in flight: what a disk needs to show its rate
PIECE = 4 << 20  # bytes of a read
PATIENCE = 0.1  # seconds between two looks whether Ctrl-C was pressed


class Window:
    """The streamed tensors of one model; one pass over them at a time.

    Attributes:
        tensors: by name, the tensors as they lie in the window when their turn has come.
        nbytes: private memory that it takes.
    """

    def __init__(self, plan: Plan, file: ModelFile) -> None:
        """Make room and open the files; reading begins with the first pass.

        Raises:
            ModelFileError: a file cannot be opened again.
        """
        self.nbytes = plan.window_bytes
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a fork fills its own
        mapping = mmap.mmap(-1, self.nbytes, flags=private)
        advise_huge_pages(mapping)  # a read past the page cache lists every page that it fills
        memory = memoryview(mapping)
        files: dict[int, DirectFile] = {}
        self.tensors: dict[str, Tensor] = {}
        chunks = []
        for i, tensor in enumerate(plan.streamed):
            info = file.tensors[tensor.name]
            if info.part not in files:
                files[info.part] = file.mapping(info.part).open_direct()
            slot = memory[i % SLOTS * plan.slot_bytes :][: plan.slot_bytes]
            inside = info.offset % PAGE
            self.tensors[tensor.name] = Tensor.from_buffer(
                tensor.name, tensor.type, tensor.shape, slot[inside : inside + tensor.nbytes]
            )
            start, end = info.offset - inside, info.offset + tensor.nbytes
            chunks.append(_Chunk(files[info.part], start, end, slot))
        self._readers = _Readers(chunks)
        self._pass = threading.Lock()
        weakref.finalize(self, self._readers.stop)

    @property
    def read_bytes(self) -> int:
        """Bytes read from the files so far."""
        return self._readers.read_bytes

    @property
    def waited(self) -> float:
        """Seconds that passes have waited for the disk so far."""
        return self._readers.waited

    def probe(self, seconds: float = 0.3) -> float:
        """Bytes per second at which the files can be read, tried for about so long.

        Raises:
            ModelFileError: they cannot be read.
        """
        with self._pass:
            return self._readers.probe(seconds)

    @contextmanager
    def sweep(self) -> Iterator[None]:
        """Own the window for one pass; what is left of one that ended early is skipped."""
        with self._pass:
            self._readers.start()
            try:
                yield
            finally:
                self._readers.end_pass()

    def take(self, count: int) -> None:
        """Wait until the next `count` tensors of the pass are in their slots.

        Raises:
            ModelFileError: they cannot be read.
        """
        self._readers.take(count)

    def give_back(self, count: int) -> None:
        """Let their slots be filled anew."""
        self._readers.give_back(count)


@dataclass(frozen=True)
class _Chunk:
    """A streamed tensor: whole pages of a file, and the slot that they go to."""

    file: DirectFile
    start: int
    end: int  # of the tensor: the last page may lack what lies beyond
    slot: memoryview

    @property
    def n_pieces(self) -> int:
        return -(-(self.end - self.start) // PIECE)

    def read(self, piece: int) -> int:
        """Read one piece; return its bytes."""
        at = piece * PIECE
        needed = min(PIECE, self.end - self.start - at)
        room = self.slot[at : at + (needed + PAGE - 1) // PAGE * PAGE]
        self.file.read(self.start + at, room, needed)
        return needed


class _Readers:
    """The threads, and where they and the pass are. Numbers of chunks go on over all passes."""

    def __init__(self, chunks: list[_Chunk]) -> None:
        self._chunks = chunks
        self._changed = threading.Condition()
        self._pid = 0  # whose threads these are: a fork leaves them behind
        self.read_bytes, self.waited = 0, 0.0
        self._reset()

    def _reset(self) -> None:
        n = len(self._chunks)
        self._next = (0, 0)  # chunk and piece to be read
        self._missing = [0] * n  # pieces of a chunk that is being read
        self._loaded = [-1] * n  # the number under which a chunk was last complete
        self._taken = self._released = 0
        self._n_reading = 0
        self._stopped = self._paused = False
        self._error: ModelFileError | None = None

    def probe(self, seconds: float) -> float:
        """Read what comes first, as the threads do; whoever calls owns the window."""
        from concurrent.futures import ThreadPoolExecutor  # models that fit need none of it

        self.end_pass()
        began, nbytes = time.perf_counter(), 0
        pieces = ((chunk, i) for chunk in self._chunks for i in range(chunk.n_pieces))
        with ThreadPoolExecutor(READERS) as pool:
            while time.perf_counter() - began < seconds and (some := [*islice(pieces, READERS)]):
                nbytes += sum(pool.map(lambda piece: piece[0].read(piece[1]), some))
        return nbytes / (time.perf_counter() - began)

    # ---- the pass -----------------------------------------------------------------------------

    def start(self) -> None:
        """Make the threads, unless this process has them."""
        if self._pid == os.getpid():
            return
        self._changed = threading.Condition()
        self._reset()
        self._pid = os.getpid()
        for _ in range(READERS):
            threading.Thread(target=self._run, name="llamacpp-reader", daemon=True).start()

    def take(self, count: int) -> None:
        """Wait for the next `count` chunks."""
        began = time.perf_counter()
        with self._changed:
            for number in range(self._taken, self._taken + count):
                while self._loaded[number % len(self._chunks)] < number:
                    if self._error is not None:
                        raise self._error
                    self._changed.wait(PATIENCE)
            self._taken += count
        self.waited += time.perf_counter() - began

    def give_back(self, count: int) -> None:
        """Let the slots of the oldest `count` chunks be read into."""
        with self._changed:
            self._released += count
            self._changed.notify_all()

    def end_pass(self) -> None:
        """Begin anew where a pass ended early or failed; else go on."""
        with self._changed:
            whole = self._taken == self._released and self._taken % len(self._chunks) == 0
            if whole and self._error is None:
                return
            self._paused = True
            while self._n_reading:
                self._changed.wait()
            self._reset()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the threads; those of a process that forked are not ours to end."""
        if self._pid == os.getpid():
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    # ---- the threads --------------------------------------------------------------------------

    def _run(self) -> None:
        changed = self._changed
        with changed:
            while not self._stopped:
                if self._paused or self._error is not None or not self._is_free(self._next[0]):
                    changed.wait()
                    continue
                number, piece = self._next
                index = number % len(self._chunks)
                chunk = self._chunks[index]
                if piece == 0:
                    self._missing[index] = chunk.n_pieces
                self._next = (number, piece + 1) if piece + 1 < chunk.n_pieces else (number + 1, 0)
                self._n_reading += 1
                changed.release()
                try:
                    outcome: int | ModelFileError = chunk.read(piece)
                except ModelFileError as error:
                    outcome = error
                finally:
                    changed.acquire()
                self._n_reading -= 1
                self._count(outcome, index, number)
                changed.notify_all()

    def _is_free(self, number: int) -> bool:
        """Whether the chunk that had the slot before was given back."""
        n, index = len(self._chunks), number % len(self._chunks)
        if index >= SLOTS:
            return number - SLOTS < self._released
        last = (n - 1 - index) // SLOTS * SLOTS + index  # of this slot, in the pass before
        return number - index - n + last < self._released

    def _count(self, outcome: int | ModelFileError, index: int, number: int) -> None:
        if isinstance(outcome, ModelFileError):
            self._error = outcome
            return
        self.read_bytes += outcome
        self._missing[index] -= 1
        if not self._missing[index]:
            self._loaded[index] = number
