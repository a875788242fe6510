"""results.json, the table and the plots of a comparison that is written down here."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import report
from bench.results import Case, Memory, Model, Results, ResultsError, Round, Test
from tests.bench.fakes import MACHINE

PNG = b"\x89PNG\r\n\x1a\n"
ABOUT = {"name": "engine", "version": "1.0", "build": "fast", "python": "3.11.0"}
MODELS = [
    Model("tiny-Q4_0", "/tiny-Q4_0.gguf", 10**9, {"Q4_0": 10**9}, 0.5e9, 2e9),
    Model("tiny-Q8_0", "/tiny-Q8_0.gguf", 2 * 10**9, {"Q8_0": 2 * 10**9}, 1e9, 2e9),
]


def rounds(*seconds: tuple[float, float]) -> list[Round]:
    limits = {"read_bandwidth": 40e9, "int8_peak": 800e9}
    return [
        Round(["ours", "peer"], {"ours": a, "peer": b}, limits, others=0.1 * i)
        for i, (a, b) in enumerate(seconds)
    ]


@pytest.fixture
def results() -> Results:
    return Results(
        name="example",
        started="2026-01-02T03:04:05+00:00",
        command=["python", "-m", "bench.compare"],
        settings={"rounds": 3},
        machine=MACHINE,
        engines={"ours": ABOUT, "peer": {**ABOUT, "name": "other"}},
        models=list(MODELS),
        memory=[
            Memory("tiny-Q4_0", 2, 1, "ours", 0.002, 40_000_000, 990_000_000, 500_000_000),
            Memory("tiny-Q4_0", 2, 1, "peer", 1.5, 970_000_000, 1_000_000_000, 1_400_000_000),
            Memory("tiny-Q8_0", 2, 1, "ours", 0.002),
        ],
        cases=[
            Case("tiny-Q4_0", 2, Test(n_prompt=512), rounds((2, 4), (2, 5), (1.6, 4))),
            Case("tiny-Q4_0", 2, Test(n_gen=64), rounds((1, 2), (1, 1.5), (2, 4))),
            Case("tiny-Q8_0", 2, Test(n_gen=64), [Round(["ours"], {"ours": 1.0})],
                 {"peer": "refused: no such type"}),
        ],
        complete=True,
        seconds=61.4,
    )  # fmt: skip


TABLE = """\
# Engines compared: example

- 2026-01-02T03:04:05+00:00, 61 s, Imaginary 9000, 2 cores, level avx2, L1d 32K, 8 GB, Linux 6.0
- ours: engine 1.0, Python 3.11.0: fast
- peer: other 1.0, Python 3.11.0: fast
- Medians of 3 interleaved rounds. Ratios and shares of the limit are computed in each round; \
in brackets their smallest and largest.
- Meanwhile other programs had the time of 0.10 cores, at most 0.20. Near 0 is as it should be.

| model | test | threads | ours, tok/s | peer, tok/s | ours / peer | limit | ours does | \
ours, of limit | peer, of limit |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| tiny-Q4_0 | pp512 | 2 | 256.0 | 128.0 | 2.50 (2.00-2.50) | 800.0 GOP/s | 512.0 GOP/s | 64% | 32% |
| tiny-Q4_0 | tg64 | 2 | 64.0 | 32.0 | 2.00 (1.50-2.00) | 40.0 GB/s | 32.0 GB/s | 80% | 40% |
| tiny-Q8_0 | tg64 | 2 | 64.0 | refused | – | – | – | – | – |

| model | engine | threads | sequences | first open, s | anonymous, MB | mapped, MB | Pss, MB |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| tiny-Q4_0 | ours | 2 | 1 | 0.002 | 40 | 990 | 500 |
| tiny-Q4_0 | peer | 2 | 1 | 1.500 | 970 | 1000 | 1400 |
| tiny-Q8_0 | ours | 2 | 1 | 0.002 | – | – | – |

- peer, tiny-Q8_0, 2 threads: refused: no such type
"""


def test_the_table_says_all(results: Results) -> None:
    assert report.table(results) == TABLE


def test_the_table_says_what_is_missing(results: Results) -> None:
    results.complete = False
    results.missing = {"a": "not installed", "b": "not installed"}
    results.models[1] = dataclasses.replace(MODELS[1], page_cache={"skipped": "no room"})
    text = report.table(results)
    assert "**Partial: the run was interrupted.**" in text
    assert "- a; b: left out: not installed\n" in text
    assert "- tiny-Q8_0: not read anew: no room\n" in text
    results.missing = {"limits": "no probe"}
    assert "- no limits: no probe\n" in report.table(results)


def test_the_table_of_nothing_is_a_table(results: Results) -> None:
    results.cases, results.memory = [], []
    assert "|" not in report.table(results)


def test_results_are_read_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.save(tmp_path / "new" / "folder")
    assert Results.load(tmp_path / "new" / "folder") == results
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("{", "is no results of bench.compare"),
        ("[]", "is no results of bench.compare"),
        ('{"format": 99}', "another version"),
        ('{"format": 1}', "is no results of bench.compare"),
        ('{"format": 1, "models": [{"x": 1}]}', "is no results of bench.compare"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, message: str, capsys) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=message):
        Results.load(tmp_path)
    assert report.main([str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_report_needs_no_measuring(results: Results, tmp_path: Path, capsys) -> None:
    results.save(tmp_path)
    assert report.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == TABLE
    assert (tmp_path / "table.md").read_text() == TABLE
    assert json.loads((tmp_path / "results.json").read_text())["name"] == "example"


# ---- plots --------------------------------------------------------------------------------------

needs_matplotlib = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


def drawn(results: Results, folder: Path) -> set[str]:
    paths = report.write(results, folder, plots=True)
    for path in paths[1:]:
        data = path.read_bytes()
        assert data.startswith(PNG)
        assert len(data) > 10_000
    return {path.name for path in paths}


@needs_matplotlib
def test_bars_are_drawn(results: Results, tmp_path: Path) -> None:
    assert drawn(results, tmp_path) == {"table.md", "speed-2t.png", "memory.png"}


@needs_matplotlib
def test_curves_are_drawn_from_three_points_on(results: Results, tmp_path: Path) -> None:
    results.cases = [
        Case("tiny-Q4_0", threads, test, rounds((1, 2)))
        for threads in (1, 2)
        for test in [
            *(Test(n_prompt=n) for n in (1, 8, 512)),
            *(Test(n_gen=4, n_depth=n) for n in (0, 64)),
        ]
    ]
    results.memory = []
    names = {"table.md", "threads.png"}
    for threads in (1, 2):
        names |= {f"speed-{threads}t.png", f"prompt-length-{threads}t.png"}
    assert drawn(results, tmp_path / ".") == names
    results.cases.append(Case("tiny-Q4_0", 1, Test(n_gen=4, n_depth=128), rounds((1, 2))))
    assert drawn(results, tmp_path) == names | {"depth-1t.png"}


@needs_matplotlib
def test_failures_and_gaps_do_not_stop_drawing(results: Results, tmp_path: Path) -> None:
    for case in results.cases:
        case.errors = {"ours": "died: exit code 1", "peer": "refused: no"}
        case.rounds = []
    assert "speed-2t.png" in drawn(results, tmp_path)
    results.cases, results.memory = [], []
    assert drawn(results, tmp_path) == {"table.md"}


@needs_matplotlib
def test_many_models_and_engines_fit(results: Results, tmp_path: Path) -> None:
    names = [f"engine-{i}" for i in range(8)]
    results.engines = dict.fromkeys(names, ABOUT)
    results.models = [dataclasses.replace(MODELS[0], label=f"m-{i}") for i in range(9)]
    taken = Round(names, {name: 1.0 + i for i, name in enumerate(names)})
    results.cases = [Case(m.label, 1, Test(n_gen=4), [taken]) for m in results.models]
    results.memory = []
    assert drawn(results, tmp_path) == {"table.md", "speed-1t.png"}


@needs_matplotlib
def test_a_plot_names_machine_models_engines_and_limits(results: Results) -> None:
    from bench.plots import _Plots

    ((name, figure),) = _Plots(results).speed(2)
    words = " ".join(text.get_text() for text in figure.findobj(lambda o: hasattr(o, "get_text")))
    assert name == "speed-2t"
    for word in ("tiny on Imaginary 9000", "2 cores", "ours", "peer", "Q4_0", "Q8_0", "tok/s",
                 "int8 limit 400", "read limit 80", "refused", "pp512", "tg64"):  # fmt: skip
        assert word in words, word


def test_without_matplotlib_the_table_is_written(
    results: Results, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    results.save(tmp_path)
    assert report.main([str(tmp_path)]) == 0
    assert "no plots: they need matplotlib" in capsys.readouterr().err
    assert (tmp_path / "table.md").read_text() == TABLE
