"""Who runs when, what becomes of the samples, and what of an engine that fails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench import interleave
from bench.analysis import rates, ratio
from bench.interleave import Settings
from bench.report import table
from bench.results import Case, Results, Test
from tests.bench.fakes import QUICK, compare, fake

DECODE = Test(n_gen=4)


def lines(folder: Path, *words: str) -> list[str]:
    """The engines that logged these words, in order."""
    found = (folder / "log").read_text().splitlines()
    return [line.split()[0] for line in found if all(word in line for word in words)]


def only(results: Results) -> Case:
    (case,) = results.cases
    return case


def test_engines_take_turns_and_the_order_rotates(tmp_path: Path) -> None:
    specs = [fake(name, tmp_path / "log") for name in "abc"]
    case = only(compare(tmp_path, specs, [DECODE]))
    assert lines(tmp_path, "run", "seed 0") == ["a", "b", "c"]  # the warm-up
    turns = [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]
    assert [lines(tmp_path, "run", f"seed {n}") for n in (1, 2, 3)] == turns
    assert [taken.order for taken in case.rounds] == turns


def test_limits_are_probed_after_every_round(tmp_path: Path) -> None:
    specs = [fake(name, tmp_path / "log") for name in "ab"]
    case = only(compare(tmp_path, specs, [DECODE]))
    log = (tmp_path / "log").read_text().splitlines()
    steps = ["limits" if "limits" in line else line.split()[1] for line in log]
    # Once to warm up, before the engines open; never after the warm-up round.
    assert steps == [
        "open", "limits", "open", "open",
        "run", "run", *["run", "run", "limits"] * 3,
    ]  # fmt: skip
    assert [taken.limits for taken in case.rounds] == [
        {"read_bandwidth": n * 1e9, "int8_peak": 8e9} for n in (2, 3, 4)
    ]


def test_the_warm_up_is_not_counted(tmp_path: Path) -> None:
    specs = [fake("a", tmp_path / "log", [1, 2, 4])]
    case = only(compare(tmp_path, specs, [DECODE]))
    assert [taken.seconds for taken in case.rounds] == [{"a": 1.0}, {"a": 2.0}, {"a": 4.0}]
    assert rates(case, "a") == [4.0, 2.0, 1.0]


def test_ratios_belong_to_rounds(tmp_path: Path) -> None:
    # The ratio of the medians would be 2; no round knows such a ratio.
    specs = [fake("a", tmp_path / "log", [1, 2, 4]), fake("b", tmp_path / "log", [4, 2, 4])]
    quotient = ratio(only(compare(tmp_path, specs, [DECODE])), "a", "b")
    assert quotient is not None
    assert (quotient.median, quotient.low, quotient.high) == (1.0, 1.0, 4.0)


def test_contexts_are_as_large_as_their_tests_need(tmp_path: Path) -> None:
    tests = [Test(n_prompt=100), Test(n_gen=8, n_depth=50), Test(n_gen=4, n_seq=3)]
    results = compare(tmp_path, [fake("a", tmp_path / "log")], tests, n_threads=[1, 2])
    opened = [line for line in (tmp_path / "log").read_text().splitlines() if "a open" in line]
    assert opened == [f"a open {n}t {ctx}" for n in (1, 2) for ctx in ("100 x1", "4 x3")]
    names = ["pp100", "tg8 @ d50", "tg4 x3"]
    assert [case.test.name for case in results.cases] == names * 2
    groups = [(held.threads, held.n_seq) for held in results.memory]
    assert groups == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert results.memory[0].anonymous == 10_000_000
    assert results.memory[0].open_seconds == 0.5


def test_what_a_token_costs_is_asked_for(tmp_path: Path) -> None:
    results = compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE])
    assert (results.models[0].weight_bytes, results.models[0].operations) == (1e7, 2e7)


def test_without_a_probe_there_are_no_limits(tmp_path: Path, capsys) -> None:
    probe = fake("probe", tmp_path / "log", trouble="refuse@open")
    results = compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE], probe=probe)
    assert [taken.limits for taken in only(results).rounds] == [None] * 3
    assert results.missing == {"limits": "probe will not"}
    assert "no limits: probe refused: probe will not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trouble", "note"),
    [
        ("die@2", "died: exit code 3"),
        ("garbage@2", "died: it answered run with b'no JSON object' instead of JSON"),
        ("hang@2", "died: no answer in 1 s"),
    ],
)
def test_an_engine_that_is_gone_does_not_stop_the_others(
    tmp_path: Path, capsys, trouble: str, note: str
) -> None:
    settings = dataclasses.replace(QUICK, timeout=1.0)
    specs = [
        fake("a", tmp_path / "log"),
        fake("b", tmp_path / "log", trouble=trouble),
        fake("c", tmp_path / "log"),
    ]
    results = compare(tmp_path, specs, [DECODE, Test(n_prompt=8)], settings=settings)
    first, second = results.cases
    assert first.errors == second.errors == {"b": note}
    assert [sorted(taken.seconds) for taken in first.rounds] == [["a", "b", "c"]] + [["a", "c"]] * 2
    assert [sorted(taken.order) for taken in second.rounds] == [["a", "c"]] * 3
    assert {held.engine for held in results.memory} == {"a", "c"}
    said = capsys.readouterr().err
    assert f"model, 2 threads: b {note}" in said
    assert ("    | a word before dying\n" in said) == (trouble == "die@2")


def test_an_engine_that_dies_is_started_again_for_the_next_threads(tmp_path: Path) -> None:
    specs = [fake("a", tmp_path / "log"), fake("b", tmp_path / "log", trouble="die@3")]
    results = compare(tmp_path, specs, [DECODE], n_threads=[1, 2])
    assert [rates(case, "b") for case in results.cases] == [[4.0, 4.0]] * 2


def test_an_engine_may_refuse_a_file(tmp_path: Path) -> None:
    specs = [fake("a", tmp_path / "log"), fake("b", tmp_path / "log", trouble="refuse@open")]
    case = only(compare(tmp_path, specs, [DECODE]))
    assert case.errors == {"b": "refused: b will not"}
    assert len(rates(case, "a")) == 3
    assert lines(tmp_path, "run") == ["a"] * 4


def test_an_engine_may_refuse_a_test_and_go_on(tmp_path: Path) -> None:
    specs = [fake("a", tmp_path / "log"), fake("b", tmp_path / "log", trouble="refuse@0")]
    results = compare(tmp_path, specs, [DECODE, Test(n_prompt=8)])
    assert [case.errors for case in results.cases] == [{"b": "refused: b will not"}] * 2
    assert lines(tmp_path, "run").count("b") == 2  # asked anew for each test, once


def test_a_missing_engine_is_left_out(tmp_path: Path) -> None:
    nowhere = dataclasses.replace(fake("b", tmp_path / "log"), command=("/nowhere/python",))
    results = compare(tmp_path, [fake("a", tmp_path / "log"), nowhere], [DECODE])
    assert list(results.engines) == ["a"]
    assert results.missing == {"b": "cannot start /nowhere/python: No such file or directory"}
    assert only(results).errors == {}


def test_the_load_of_others_is_noted(tmp_path: Path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("bench.interleave.OthersLoad", lambda pids: seen.append(pids) or Load())

    class Load:
        def cores(self) -> float:
            return 0.5

    specs = [fake("a", tmp_path / "log"), fake("b", tmp_path / "log")]
    case = only(compare(tmp_path, specs, [DECODE]))
    assert [taken.others for taken in case.rounds] == [0.5] * 3
    assert [len(set(pids)) for pids in seen] == [2] * 4


def test_results_are_saved(tmp_path: Path) -> None:
    results = compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE])
    assert results.complete
    assert Results.load(tmp_path) == results


def test_an_interruption_keeps_what_was_measured(tmp_path: Path, monkeypatch) -> None:
    calls = []

    def ask(engine: interleave.Engine, do: str, **arguments: object) -> dict[str, object]:
        calls.append(do)
        if calls.count("run") == 8:  # the second engine in the third round
            raise KeyboardInterrupt
        return original(engine, do, **arguments)

    original = interleave.Engine.ask
    monkeypatch.setattr(interleave.Engine, "ask", ask)
    specs = [fake("a", tmp_path / "log"), fake("b", tmp_path / "log")]
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, specs, [DECODE, Test(n_prompt=8)])
    saved = Results.load(tmp_path)
    assert not saved.complete
    assert [sorted(taken.seconds) for taken in only(saved).rounds] == [["a", "b"]] * 2 + [["a"]]


def test_a_turn_that_others_disturbed_is_taken_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(interleave, "BETWEEN_LOOKS", 0.0)
    settings = dataclasses.replace(QUICK, rounds=2, patience=60.0)
    # Warm-up: quiet. Round 1: waits for a look, runs, was disturbed; waits for two; runs again.
    paces = [8, 4, 8, 4, 4, 4, 8, 8]
    results = compare(
        tmp_path, [fake("a", tmp_path / "log", [3, 1, 2])], [DECODE], settings=settings,
        probe=fake("probe", tmp_path / "log", paces=paces),
    )  # fmt: skip
    case = only(results)
    assert lines(tmp_path, "run", "seed 1") == ["a", "a"]
    assert lines(tmp_path, "run", "seed 2") == ["a"]
    assert [taken.seconds for taken in case.rounds] == [{"a": 1.0}, {"a": 2.0}]
    assert [taken.disturbed for taken in case.rounds] == [[], []]


def test_patience_ends(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(interleave, "BETWEEN_LOOKS", 0.0)
    settings = dataclasses.replace(QUICK, rounds=1, patience=0.05)
    results = compare(
        tmp_path, [fake("a", tmp_path / "log")], [DECODE], settings=settings,
        probe=fake("probe", tmp_path / "log", paces=[8, 4]),
    )  # fmt: skip
    assert only(results).rounds[0].disturbed == ["a"]
    assert "In 1 of 1 turns the processors were not at full pace." in table(results)


def test_the_pace_is_not_looked_at_without_patience_or_a_probe_that_tells(tmp_path: Path) -> None:
    compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE])
    assert lines(tmp_path, "pace") == []
    settings = dataclasses.replace(QUICK, patience=60.0)
    probe = fake("probe", tmp_path / "log", trouble="refuse@open")
    case = only(compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE], settings=settings,
                        probe=probe))  # fmt: skip
    assert len(rates(case, "a")) == 3


def test_a_pause_comes_before_every_run(tmp_path: Path, monkeypatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(interleave.time, "sleep", pauses.append)
    compare(tmp_path, [fake("a", tmp_path / "log")], [DECODE],
            settings=dataclasses.replace(QUICK, pause=0.25))  # fmt: skip
    assert pauses.count(0.25) == 8  # opening, 4 runs, 3 probes
    assert Settings().pause > 0
