"""A trace tells which pages are touched: exactly those, by any thread, and nothing else changes."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import LlamaError, Model, ModelFileError, UnsupportedError
from llamacpp._native import active_level, available_levels, lib, set_level
from llamacpp.format import ModelFile
from llamacpp.memory import Pages, Trace
from llamacpp.memory import trace as module
from llamacpp.memory.pages import PAGE, count_pages
from tests.format.test_parts import write_model
from tests.memory.conftest import Run
from tests.random_models import write_random_model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

EMBEDDING = "token_embd.weight"
TOKENS = [7, 1234, 4999, 0, 2500, 2501, 7, 90, 3000, 11, 12, 13, 14, 600, 601, 4000, 1, 2, 3, 4]


@pytest.fixture
def level(request: pytest.FixtureRequest) -> Iterator[None]:
    before = active_level()
    set_level(request.param)
    yield
    set_level(before)


def of_design(model: Model, tokens: Iterable[int]) -> list[bool]:
    """The pages of a file of one part that evaluating the tokens must touch."""
    pages = np.zeros(count_pages(model.file.parts[0].mapping.nbytes), dtype=bool)

    def read(begin: int, nbytes: int) -> None:
        pages[begin // PAGE : (begin + nbytes - 1) // PAGE + 1] = True

    for name, info in model.file.tensors.items():
        if name != EMBEDDING:
            read(info.offset, info.nbytes)
    embedding, row = model.file.tensors[EMBEDDING], model.weights[EMBEDDING].row_nbytes
    for token in tokens:
        read(embedding.offset + token * row, row)
    return pages.tolist()


def seen(pages: Pages) -> list[bool]:
    (part,) = pages.parts
    return part.tolist()


# ---- what is touched ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", available_levels(), indirect=True)
@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.Q4_0, Type.Q8_0, Type.Q6_K])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.usefixtures("level")
def test_exactly_what_is_read_is_touched(tmp_path: Path, kind: Type, n_threads: int) -> None:
    path = write_random_model(tmp_path / "m.gguf", kind, n_vocab=5000)
    with Model.open(path, n_threads=n_threads) as model, Trace(model.file) as trace:
        for n in (1, 6, 20):  # dot products, skinny ones, tiles
            session = model.session()
            trace.reset()
            session.eval(TOKENS[:n])
            assert seen(trace.touched()) == of_design(model, TOKENS[:n])
        embedding = trace.touched().of(model.file.tensors[EMBEDDING])
        assert 0 < np.count_nonzero(embedding) <= 2 * len(TOKENS) < len(embedding)


def test_every_token_touches_all_of_every_matrix(model: Model) -> None:
    session = model.session()
    session.eval(TOKENS[:3])
    with Trace(model.file) as trace:
        for token in (5, 6, 4500):
            trace.reset()
            session.eval([token])
            touched = trace.touched()
            for name, info in model.file.tensors.items():
                if name != EMBEDDING:
                    assert touched.nbytes_of(info) == info.nbytes
            assert seen(touched) == of_design(model, [token])


def test_touches_add_up_until_the_next_reset(model: Model) -> None:
    session = model.session()
    with Trace(model.file) as trace:
        assert trace.touched().count == 0
        for token in (3, 4000):
            session.eval([token])
        assert seen(trace.touched()) == of_design(model, [3, 4000])
        trace.reset()
        assert trace.touched().count == 0


def test_a_tied_embedding_is_an_output_and_touched_as_a_whole(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "m.gguf", Type.Q4_0, n_vocab=5000, tied=True)
    with Model.open(path, n_threads=2) as model, Trace(model.file) as trace:
        model.session().eval([1])
        info = model.file.tensors[EMBEDDING]
        assert trace.touched().nbytes_of(info) == info.nbytes


def test_results_are_the_same(model: Model) -> None:
    plain, traced = model.session(), model.session()
    want = [plain.eval(TOKENS, "all"), plain.eval([9])]
    with Trace(model.file) as trace:
        got = [traced.eval(TOKENS, "all")]
        trace.reset()
        got.append(traced.eval([9]))
    assert all((a == b).all() for a, b in zip(want, got, strict=True))
    assert (plain.eval([10]) == traced.eval([10])).all()


def test_two_models_in_two_threads(model: Model, tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "other.gguf", Type.Q8_0, n_vocab=5000, n_layer=3)
    wrong: list[object] = []

    def work(model: Model, tokens: list[int]) -> None:
        for _ in range(20):
            with Trace(model.file) as trace:
                model.session(n_threads=2).eval(tokens)
                if seen(trace.touched()) != of_design(model, tokens):
                    wrong.append(model)

    with Model.open(path, n_threads=2) as other:
        threads = [
            threading.Thread(target=work, args=arguments)
            for arguments in ((model, TOKENS), (other, [1, 4321]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_sessions_of_one_model_count_together(model: Model) -> None:
    with Trace(model.file) as trace:
        threads = [
            threading.Thread(target=model.session().eval, args=([token],)) for token in (5, 4444)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen(trace.touched()) == of_design(model, [5, 4444])


def test_parts_are_traced_together(tmp_path: Path) -> None:
    with ModelFile(write_model(tmp_path)[0]) as file, Trace(file) as trace:
        info = file.tensors["c"]
        assert file.mapping(info.part).memory[info.offset + 5] == 0
        assert [part.tolist() for part in trace.touched().parts] == [[False], [False], [True]]


# ---- what goes wrong ----------------------------------------------------------------------------


def test_a_model_is_traced_once_at_a_time(model: Model, path: Path) -> None:
    with Trace(model.file) as trace:
        with pytest.raises(LlamaError, match="is being traced already"), Trace(model.file):
            pass
        model.session().eval([5])
        assert seen(trace.touched()) == of_design(model, [5])
        with Model.open(path) as same, Trace(same.file) as another:  # another mapping of the file
            assert another.touched().count == 0


def test_a_closed_model_is_refused(model: Model) -> None:
    file = model.file
    model.close()
    with pytest.raises(LlamaError, match="was closed"), Trace(file):
        pass


def test_a_system_that_cannot_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = SimpleNamespace(
        LK_ERR_ARGUMENT=lib.LK_ERR_ARGUMENT,
        LK_ERR_UNSUPPORTED=lib.LK_ERR_UNSUPPORTED,
        lk_trace_start=lambda *_: lib.LK_ERR_UNSUPPORTED,
    )
    monkeypatch.setattr(module, "lib", refusing)
    with pytest.raises(UnsupportedError, match="needs Linux"), Trace(model.file):
        pass


def test_an_error_gives_the_memory_back(model: Model) -> None:
    with pytest.raises(ZeroDivisionError), Trace(model.file):
        raise ZeroDivisionError
    assert model.file.parts[0].mapping.memory[:4] == b"GGUF"


def test_a_file_that_shrinks_while_traced_raises(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    with Model.open(copy, n_threads=2) as model:
        session = model.session()
        session.file = type("Unchanging", (), {"check_unchanged": lambda self: None})()  # type: ignore[assignment]
        with Trace(model.file) as trace:
            session.eval(TOKENS)
            with copy.open("r+b") as file:
                file.truncate(4096)
            for _ in range(3):
                trace.reset()
                with pytest.raises(ModelFileError, match="shrank or became unreadable"):
                    session.eval([1])


SCATTERED = """
import sys
import numpy as np
from llamacpp.errors import LlamaError
from llamacpp.format import ModelFile
from llamacpp.memory import Trace

with ModelFile(sys.argv[1]) as file, Trace(file) as trace:
    memory = np.frombuffer(file.parts[0].mapping.memory, dtype=np.uint8)
    assert memory[4096 :: 2 * 4096].sum() == 0
    try:
        trace.touched()
    except LlamaError as error:
        print(error)
    trace.reset()
    assert memory[8192] == 0
    print(trace.touched().count)
"""


def test_more_pieces_than_the_system_keeps_apart_are_told(tmp_path: Path, run: Run) -> None:
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if limit > 100_000:
        pytest.skip(f"the system keeps {limit} pieces apart")
    from tests.format.test_mapping import large_file

    path = large_file(tmp_path / "sparse.gguf", nbytes=2 * PAGE * (limit + 1000))
    done = run(SCATTERED, path)
    assert done.returncode == 0, done.stderr
    message, count = done.stdout.splitlines()
    assert "lie in more pieces than the system keeps apart; raise vm.max_map_count" in message
    assert count == "1"


# ---- signals ------------------------------------------------------------------------------------

SETUP = """
import ctypes, faulthandler, mmap, os, signal, sys
from llamacpp import Model
from llamacpp.memory import Trace

def caught():
    status = open("/proc/self/status").read()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (signal.SIGSEGV - 1) & 1)

model = Model.open(sys.argv[1], n_threads=2)
session = model.session()
"""

RESTORED = """
assert not caught()
with Trace(model.file):
    assert caught()
    session.eval([1])
    with Model.open(sys.argv[1]) as other, Trace(other.file):
        pass
    assert caught()
assert not caught()
faulthandler.enable()
with Trace(model.file):
    session.eval([1])
faulthandler.disable()
assert not caught()
"""


def test_the_handler_before_is_restored(path: Path, run: Run) -> None:
    done = run(SETUP + RESTORED, path)
    assert done.returncode == 0, done.stderr


CRASHES = {
    "nothing is there": "ctypes.string_at(0)",
    "not to be read": "none = mmap.mmap(-1, 4096, prot=0); none[0]",
    "not to be written": "ctypes.memset(model.file.parts[0].mapping.address, 0, 1)",
    "the signal was sent": "os.kill(os.getpid(), signal.SIGSEGV)",
    "after the trace": "trace.__exit__(None, None, None); ctypes.string_at(0)",
}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
@pytest.mark.parametrize("handler", ["", "faulthandler.enable()"])
def test_other_faults_still_kill(path: Path, run: Run, crash: str, handler: str) -> None:
    code = f"{handler}\ntrace = Trace(model.file).__enter__()\nsession.eval([1])\n{crash}"
    done = run(SETUP + code, path)
    assert done.returncode == -signal.SIGSEGV
    assert ("Fatal Python error: Segmentation fault" in done.stderr) == bool(handler)


FORKED = """
with Trace(model.file) as trace:
    session.eval([1])
    before = trace.touched().count
    trace.reset()
    child = os.fork()
    if not child:
        model.session(n_threads=1).eval([1])
        count = trace.touched().count
        trace.__exit__(None, None, None)
        os._exit(0 if count == before and not caught() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert trace.touched().count == 0
"""


def test_a_child_of_fork_has_a_trace_of_its_own(path: Path, run: Run) -> None:
    done = run(SETUP + FORKED, path)
    assert done.returncode == 0, done.stderr
