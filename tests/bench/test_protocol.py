"""What an adapter is asked for, and that nothing but answers leaves its process."""

from __future__ import annotations

import ast
import gc
import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.engines.protocol import MissingEngineError, RefusedError, Worker, process_memory, serve

ROOT = Path(__file__).resolve().parent.parent.parent
MiB = 1 << 20


class Recorder(Worker):
    """Notes what it is told, and checks that positions continue what it holds."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.held: list[list[int]] = []
        self.fails = False

    def about(self) -> dict[str, object]:
        return {"name": "recorder", "version": "1", "build": "none"}

    def load(self, path: str, n_threads: int) -> None:
        self.calls.append(f"load {path} {n_threads}")
        self.n_vocab = 10

    def start(self, n_ctx: int, n_seq: int, cache_type: str) -> None:
        self.calls.append(f"start {n_ctx} {n_seq} {cache_type}")
        self.held = [[] for _ in range(n_seq)]

    def prompt(self, tokens: list[int], pos: int, seq: int) -> None:
        self.calls.append(f"prompt {len(tokens)} at {pos} of {seq}")
        assert pos == len(self.held[seq])
        self.held[seq] += tokens

    def step(self, tokens: list[int], pos: int) -> None:
        if self.fails:
            raise RuntimeError("broken")
        self.calls.append(f"step {len(tokens)} at {pos}")
        for seq, token in enumerate(tokens):
            assert pos == len(self.held[seq])
            self.held[seq].append(token)

    def rewind(self, n: int, n_seq: int) -> None:
        self.calls.append(f"rewind {n} of {n_seq}")
        for seq in range(n_seq):
            assert len(self.held[seq]) >= n
            del self.held[seq][n:]


@pytest.fixture
def worker() -> Recorder:
    worker = Recorder()
    worker.answer({"do": "open", "path": "f", "n_threads": 2, "n_ctx": 99, "n_seq": 2})
    worker.calls.clear()
    return worker


def test_a_prompt_is_run_and_forgotten(worker: Recorder) -> None:
    answer = worker.answer({"do": "run", "n_prompt": 7})
    assert worker.calls == ["prompt 7 at 0 of 0", "rewind 0 of 1"]
    assert list(answer) == ["seconds"]
    assert answer["seconds"] > 0


def test_decoding_is_step_by_step(worker: Recorder) -> None:
    worker.answer({"do": "run", "n_gen": 3, "n_seq": 2})
    assert worker.calls == ["step 2 at 0", "step 2 at 1", "step 2 at 2", "rewind 0 of 2"]


def test_depth_is_filled_once_and_kept(worker: Recorder) -> None:
    for _ in range(2):
        worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    assert worker.calls == [
        "prompt 5 at 0 of 0", "step 1 at 5", "rewind 5 of 1", "step 1 at 5", "rewind 5 of 1",
    ]  # fmt: skip


def test_depth_grows_by_what_is_missing(worker: Recorder) -> None:
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    shallow = list(worker.held[0])
    worker.calls.clear()
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 8})
    assert worker.calls == ["prompt 3 at 5 of 0", "step 1 at 8", "rewind 8 of 1"]
    assert worker.held[0][:5] == shallow


def test_depth_shrinks_by_filling_anew(worker: Recorder) -> None:
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 8})
    worker.calls.clear()
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    assert worker.calls == ["rewind 0 of 2", "prompt 5 at 0 of 0", "step 1 at 5", "rewind 5 of 1"]


def test_every_sequence_has_the_depth(worker: Recorder) -> None:
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 4, "n_seq": 2})
    assert worker.calls[:2] == ["prompt 4 at 0 of 0", "prompt 4 at 0 of 1"]
    assert worker.held[0] != worker.held[1]


def test_after_a_failure_the_depth_is_filled_anew(worker: Recorder) -> None:
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    worker.fails = True
    with pytest.raises(RuntimeError):
        worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    worker.fails = False
    worker.calls.clear()
    worker.answer({"do": "run", "n_gen": 1, "n_depth": 5})
    assert worker.calls == ["rewind 0 of 2", "prompt 5 at 0 of 0", "step 1 at 5", "rewind 5 of 1"]


def test_tokens_are_those_of_the_seed(worker: Recorder) -> None:
    seen = []
    worker.rewind = lambda n, n_seq: seen.append(worker.held[0][n:]) or worker.held[0].clear()  # type: ignore[method-assign,func-returns-value]
    for seed in (1, 1, 2):
        worker.answer({"do": "run", "n_prompt": 20, "seed": seed})
    assert seen[0] == seen[1] != seen[2]
    assert all(0 <= token < 10 for token in seen[0])


def test_a_model_is_loaded_once(worker: Recorder) -> None:
    request = {"do": "open", "path": "f", "n_threads": 2, "n_ctx": 10, "cache_type": "f32"}
    worker.answer(request)
    assert worker.calls == ["start 10 1 f32"]
    worker.answer({**request, "n_threads": 1})
    assert worker.calls[1:] == ["load f 1", "start 10 1 f32"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"do": "dance"}, "there is no request 'dance'"),
        ({}, "there is no request None"),
        ({"do": "run", "n_gen": 1, "n_seq": 3}, "3 sequences do not fit into 2 open ones"),
        ({"do": "run", "n_prompt": 1, "n_seq": 2}, "a prompt is measured in one sequence"),
        ({"do": "limits"}, "this engine does not probe limits"),
        ({"do": "work"}, "this engine does not tell what a token costs"),
    ],
)
def test_what_cannot_be_done_is_refused(worker: Recorder, request_: dict, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        worker.answer(request_)


def test_nothing_runs_before_a_model_is_open() -> None:
    with pytest.raises(RefusedError, match="1 sequences do not fit into 0 open ones"):
        Recorder().answer({"do": "run", "n_gen": 1})


def answers(make, *requests: str) -> list[dict]:
    replies = io.StringIO()
    serve(make, requests, replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_errors_are_answers(capsys) -> None:
    about, refused, broken, again = answers(
        Recorder, '{"do": "about"}', '{"do": "limits"}', "no JSON", '{"do": "about"}'
    )
    assert about == again == {**Recorder().about(), "python": about["python"]}
    error = {"type": "RefusedError", "message": "this engine does not probe limits"}
    assert refused == {"error": error}
    assert broken["error"]["type"] == "JSONDecodeError"
    assert "Traceback" in capsys.readouterr().err  # of what was no refusal


def test_an_engine_that_cannot_be_made_is_an_answer() -> None:
    def make() -> Worker:
        raise MissingEngineError("not here")

    assert answers(make, "{}") == [{"error": {"type": "MissingEngineError", "message": "not here"}}]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")
def test_memory_tells_what_a_process_holds() -> None:
    gc.collect()  # what earlier tests left goes before, not in between
    before = process_memory()
    held = bytearray(64 * MiB)
    held[::4096] = b"x" * len(held[::4096])  # touch every page
    after = process_memory()
    assert 63 * MiB < after["anonymous"] - before["anonymous"] < 80 * MiB
    assert after["mapped"] > 0
    assert after["pss"] >= after["anonymous"]
    del held


# ---- what others rely on ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["__init__.py", "engines/__init__.py", "engines/__main__.py", "engines/protocol.py"]
)
def test_any_interpreter_of_a_peer_can_run_the_worker(name: str) -> None:
    tree = ast.parse((ROOT / "bench" / name).read_text(), feature_version=(3, 9))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names if name != "bench.engines.protocol"}
    assert tops <= set(sys.stdlib_module_names)


class Cache:
    """Of the engine that the README invents."""

    def __init__(self, n_seq: int, n_ctx: int) -> None:
        self.held: list[list[int]] = [[] for _ in range(n_seq)]

    def evaluate(self, seq: int, tokens: list[int]) -> None:
        self.held[seq] += tokens

    def evaluate_each(self, seqs: range, tokens: list[int]) -> None:
        for seq, token in zip(seqs, tokens, strict=True):
            self.held[seq].append(token)

    def truncate(self, seq: int, n: int) -> None:
        del self.held[seq][n:]


def test_the_example_of_the_readme_is_an_adapter(monkeypatch) -> None:
    model = SimpleNamespace(vocabulary_size=9, new_cache=Cache)
    swift = SimpleNamespace(__version__="1.2", Model=lambda path, threads: model)
    monkeypatch.setitem(sys.modules, "swift", swift)
    text = (ROOT / "bench" / "README.md").read_text()
    code = text.partition("```python\n# swift_adapter.py\n")[2].partition("```")[0]
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    worker = names["Swift"]()
    assert worker.answer({"do": "about"})["version"] == "1.2"
    opening = {"do": "open", "path": "f", "n_threads": 1, "n_ctx": 50, "n_seq": 2}
    worker.answer(opening)
    for test in ({"n_prompt": 5}, {"n_gen": 3, "n_seq": 2, "n_depth": 4}):
        assert worker.answer({"do": "run", **test})["seconds"] > 0
    assert [len(held) for held in worker.cache.held] == [4, 4]
    with pytest.raises(RefusedError, match="F16 only"):
        worker.answer({**opening, "cache_type": "f32"})


# ---- the process --------------------------------------------------------------------------------

TALKER = """
import os, subprocess
from bench.engines.protocol import Worker
from tests.bench.adapters import Quick

print("imported")

class Talker(Quick):
    def about(self):
        print("from Python", flush=True)
        os.write(1, b"from C\\n")
        subprocess.run(["echo", "from a child"])
        return {"name": "talker", "version": input_left(), "build": ""}

def input_left():
    return os.read(0, 100).decode()

class Nothing:
    pass

class Half(Worker):
    def about(self): ...
    def load(self, path, n_threads): ...
    def start(self, n_ctx, n_seq, cache_type): ...
    def step(self, tokens, pos): ...
"""


def run(spec: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.engines", spec],
        input=text, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip


@pytest.fixture
def talker(tmp_path: Path) -> Path:
    path = tmp_path / "talker.py"
    path.write_text(TALKER)
    return path


def test_only_answers_reach_standard_output(talker: Path) -> None:
    done = run(f"{talker}:Talker", '{"do": "about"}\n' * 2)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == second
    assert first["name"] == "talker"
    assert first["version"] == ""  # nor does the engine read what was meant for the protocol
    assert sorted(set(done.stderr.splitlines())) == [
        "from C", "from Python", "from a child", "imported",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}:Nothing", "has no subclass of Worker named 'Nothing'"),
        ("{}:Half", "Half does not implement prompt, rewind"),
        ("{}:Nobody", "has no subclass of Worker named 'Nobody'"),
        ("/nowhere/x.py:Talker", "/nowhere/x.py: No such file or directory"),
        ("{}", ": no Python file"),
    ],
)
def test_an_adapter_that_is_not_there_is_an_answer(talker: Path, spec: str, message: str) -> None:
    (answer,) = map(json.loads, run(spec.format(talker), '{"do": "about"}\n').stdout.splitlines())
    assert answer["error"]["type"] == "MissingEngineError"
    assert message in answer["error"]["message"]
