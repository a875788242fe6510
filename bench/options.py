"""The command line of `bench.compare`, and the plan that it asks for."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from bench import machine
from bench.comparison import Plan
from bench.engines.client import EngineSpec
from bench.interleave import Settings
from bench.results import Model, Test
from llamacpp.cli.common import number, numbers
from llamacpp.engine.threads import default_threads
from llamacpp.errors import LlamaError
from llamacpp.format import ModelFile

__all__ = ["UsageError", "adapters", "build_parser", "build_plan"]

HERE = Path(__file__).resolve().parent
BUILT_IN = {
    "ours": "ours.py:Ours",
    "peer": "llama_cpp_python.py:LlamaCppPython",
    "peer-norepack": "llama_cpp_python.py:NoRepack",
}
PROMPT_CURVE = (1, 8, 32, 128, 512, 2048)  # tokens
DEPTH_CURVE = (0, 512, 1024, 2048, 4096)  # tokens in the cache before


class UsageError(Exception):
    """The command line asks for what cannot be done."""


class _Parser(argparse.ArgumentParser):
    """Reports bad usage in one line; `--help` tells the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line. Lists are separated by commas."""
    parser = _Parser(
        prog="python -m bench.compare",
        allow_abbrev=False,
        description="Compare engines on the same model files: each in turn, in one run, beside "
        "what the machine allows. Prints a table; writes results.json, table.md and plots. "
        "bench/README.md tells what every column means and how to add an engine.",
    )
    _add_tests(parser.add_argument_group("what is run (lists are separated by commas)"))
    _add_engines(parser.add_argument_group("engines"))
    _add_conduct(parser.add_argument_group("how"))
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", type=Path, metavar="DIR",
        help="folder for the results, which replace any in it (default: one in bench/results, "
        "named for date, CPU and models)",
    )  # fmt: skip
    output.add_argument("--plots", action="store_true", help="draw plots (needs matplotlib)")
    return parser


def _add_tests(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-m", "--models", type=_paths, required=True, metavar="FILES", help="GGUF files"
    )
    group.add_argument(
        "-p", "--prompts", type=numbers(), default=[512], metavar="N",
        help="lengths of prompts; 0: none (default: 512)",
    )  # fmt: skip
    group.add_argument(
        "-n", "--gen", type=numbers(), default=[64], metavar="N",
        help="numbers of tokens to decode; 0: none (default: 64)",
    )  # fmt: skip
    group.add_argument(
        "-d", "--depths", type=numbers(), default=[0], metavar="N",
        help="tokens that the cache holds before either (default: 0)",
    )  # fmt: skip
    group.add_argument(
        "-s", "--sequences", type=numbers(1), default=[1], metavar="N",
        help="sequences that decode together (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "-t", "--threads", type=numbers(1), default=[default_threads()], metavar="N",
        help="threads (default: the cores allowed, here %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--curve", choices=("prompt", "depth"), action="append", default=[],
        help=f"also prompts of {_shown(PROMPT_CURVE)} tokens, or decoding at depths "
        f"{_shown(DEPTH_CURVE)}",
    )  # fmt: skip
    group.add_argument(
        "--cache-type",
        choices=("f16", "f32", "q8_0"),
        default="f16",
        help="keys and values (default: f16)",
    )


def _add_engines(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engines", type=_names, metavar="NAMES",
        help=f"which, the baseline of the ratios first (default: {','.join(BUILT_IN)}, and all of "
        "--engine)",
    )  # fmt: skip
    group.add_argument(
        "--engine", type=_engine, action="append", default=[], metavar="NAME=PYTHON:FILE:CLASS",
        help="another engine: the adapter CLASS in FILE, run by PYTHON",
    )  # fmt: skip
    group.add_argument(
        "--peer-python", type=_program, metavar="PATH",
        default=os.environ.get("LLAMACPP_PEER_PYTHON") or sys.executable,
        help="the interpreter that has llama-cpp-python (default: $LLAMACPP_PEER_PYTHON, or this "
        "one)",
    )  # fmt: skip
    group.add_argument(
        "--levels", type=_names, default=[], metavar="NAMES",
        help="also ours with the kernels of other levels, such as avx2",
    )  # fmt: skip


def _add_conduct(group: argparse._ArgumentGroup) -> None:
    defaults = Settings()
    group.add_argument(
        "-r", "--rounds", type=number(1), default=defaults.rounds, metavar="N",
        help="rounds after the warm-up (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--pause", type=_seconds, default=defaults.pause, metavar="SECONDS",
        help="before each run, for the threads of the one before to come to rest "
        "(default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--fresh", action=argparse.BooleanOptionalAction, default=True,
        help="drop each file from the page cache and read it again in large pages first",
    )  # fmt: skip
    group.add_argument(
        "--patience", type=_seconds, default=defaults.patience, metavar="SECONDS",
        help="how long to wait for, and run again after, other programs that use the processors; "
        "0: do not look (default: %(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=_seconds, default=defaults.timeout, metavar="SECONDS",
        help="end an engine that does not answer for so long (default: %(default)g)",
    )  # fmt: skip


# ---- values -------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _names(text: str) -> list[str]:
    names = text.split(",")
    if not all(re.fullmatch(r"[\w.+-]+", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r}: names of letters, digits, '.', '+' and '-'")
    return names


def _paths(text: str) -> list[Path]:
    return [Path(word).absolute() for word in text.split(",")]


def _program(text: str) -> str:
    """A path made absolute, since engines run elsewhere; a bare name is looked up in PATH."""
    return os.path.abspath(text) if "/" in text else text  # noqa: PTH100  keeps links of venvs


def _engine(text: str) -> EngineSpec:
    match = re.fullmatch(r"([\w.+-]+)=([^:]+):([^:]+):(\w+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON:FILE:CLASS")
    name, python, file, adapter = match.groups()
    return EngineSpec.adapter(name, _program(python), f"{Path(file).absolute()}:{adapter}")


def _shown(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


# ---- the plan -----------------------------------------------------------------------------------


def build_plan(args: argparse.Namespace) -> Plan:
    """Make the plan that the options ask for.

    Raises:
        UsageError: they ask for what cannot be done.
    """
    if args.plots and find_spec("matplotlib") is None:
        raise UsageError("--plots needs matplotlib: pip install 'llamacpp[bench]'")
    tests = _tests(args)
    if not tests:
        raise UsageError("there is nothing to run: give -p, -n or --curve")
    models, files = _models(args.models)
    built_in = adapters(args.peer_python)
    return Plan(
        specs=_specs(args, built_in),
        probe=built_in["ours"],
        models=models,
        files=files,
        tests=tests,
        n_threads=_unique(args.threads),
        settings=Settings(
            rounds=args.rounds,
            pause=args.pause,
            fresh=args.fresh,
            cache_type=args.cache_type,
            timeout=args.timeout,
            patience=args.patience,
        ),
        folder=args.out or _folder(models),
    )


def adapters(peer_python: str) -> dict[str, EngineSpec]:
    """The engines that come with the harness; llama-cpp-python's run in an interpreter given."""
    return {
        name: EngineSpec.adapter(
            name, sys.executable if name == "ours" else peer_python, f"{HERE}/engines/{file}"
        )
        for name, file in BUILT_IN.items()
    }


def _tests(args: argparse.Namespace) -> list[Test]:
    """All tests, each once: prompts and decoding at each depth, then those of the curves."""
    tests = []
    for depth in args.depths:
        tests += [Test(n_prompt=n, n_depth=depth) for n in args.prompts if n]
        tests += [
            Test(n_gen=n, n_depth=depth, n_seq=n_seq)
            for n_seq in args.sequences
            for n in args.gen
            if n
        ]
    if "prompt" in args.curve:
        tests += [Test(n_prompt=n) for n in PROMPT_CURVE]
    if "depth" in args.curve:
        tests += [Test(n_gen=n or 64, n_depth=depth) for n in args.gen for depth in DEPTH_CURVE]
    return _unique(tests)


def _models(paths: list[Path]) -> tuple[list[Model], dict[str, list[Path]]]:
    """The models, with labels of their own, and the files of each."""
    stems = [re.sub(r"-\d{5}-of-\d{5}$", "", path.stem) for path in paths]
    models, files = [], {}
    for path, stem in zip(paths, stems, strict=True):
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file")
        label = stem if stems.count(stem) == 1 else f"{path.parent.name}/{stem}"
        if label in files:
            raise UsageError(f"{label} is named twice")
        types = Counter[str]()
        try:
            with ModelFile(path) as file:
                files[label] = [part.mapping.path for part in file.parts]
                for info in file.tensors.values():
                    types[info.type.name] += info.nbytes
        except LlamaError:  # perhaps another engine reads it
            files[label] = [path]
        nbytes = sum(part.stat().st_size for part in files[label])
        models.append(Model(label, str(path), nbytes, dict(types.most_common())))
    return models, files


def _specs(args: argparse.Namespace, adapters: dict[str, EngineSpec]) -> list[EngineSpec]:
    """The engines asked for, in order; then ours at other levels."""
    known = dict(adapters)
    for spec in args.engine:
        if spec.name in known:
            raise UsageError(f"--engine: there is an engine {spec.name} already")
        known[spec.name] = spec
    names = _unique(args.engines or list(known))
    for name in names:
        if name not in known:
            raise UsageError(f"no engine {name!r}; engines: {', '.join(known)}")
    specs = [known[name] for name in names]
    for level in _unique(args.levels):
        ours = known["ours"]
        specs.append(EngineSpec(f"ours-{level}", ours.command, {"LLAMACPP_ISA": level}))
    return specs


def _folder(models: list[Model]) -> Path:
    """A new folder named for date, CPU and models."""
    cpu = machine.describe().get("cpu", "cpu")
    names = models[0].label if len(models) == 1 else f"{models[0].label}-and-{len(models) - 1}-more"
    slug = re.sub(r"[^a-z0-9]+", "-", f"{cpu} {names}".lower()).strip("-")
    name = f"{datetime.date.today():%Y-%m-%d}-{slug}"
    folder, number = HERE / "results" / name, 1
    while folder.exists():
        number += 1
        folder = HERE / "results" / f"{name}-{number}"
    return folder


def _unique(values: list) -> list:  # type: ignore[type-arg]
    return list(dict.fromkeys(values))
