"""Every example in README.md and docs/ runs, and docs/cli.md says what `--help` says.

A block marked `python`, `console` or `sh` is run, in a folder with `model.gguf` (the bundled
model), unless a comment right before it gives a reason: `<!-- not run: REASON -->`. The Python
blocks of a page share their names. In `console` blocks a line `$ COMMAND` is followed by what it
prints to stdout, where `...` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llamacpp import bundled_model
from tools import cli_reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
KINDS = ("python", "console", "sh")


def blocks(page: Path, *kinds: str) -> list[str]:
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [m["text"] for m in found if m["kind"] in kinds and not m["reason"]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the model and the `llamacpp` command."""
    model = Path(bundled_model())
    if not model.exists():
        pytest.skip("the bundled model is not there: python -m tools.bundled_model makes it")
    (tmp_path / "model.gguf").symlink_to(model)
    command = tmp_path / "bin" / "llamacpp"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llamacpp "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path, folder: Path) -> None:
    names: dict[str, object] = {"__name__": "example"}
    for number, text in enumerate(blocks(page, "python")):
        exec(compile(text, f"{page.name}, example {number + 1}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run_and_print_what_the_page_shows(page: Path, folder: Path) -> None:
    for text in blocks(page, "console"):
        for part in text.split("$ ")[1:] if text.startswith("$ ") else [""]:
            command, _, shown = part.partition("\n")
            assert command, f"no command in {text!r}"
            done = subprocess.run(
                ["bash", "-ec", command], capture_output=True, text=True, timeout=60, check=True
            )
            pattern = re.escape(shown.rstrip("\n")).replace(re.escape("..."), "(?s:.*)")
            assert re.fullmatch(pattern, done.stdout.rstrip("\n")), command + "\n" + done.stdout
    for text in blocks(page, "sh"):
        subprocess.run(["bash", "-ec", text], capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_well_formed(page: Path) -> None:
    """Every fence is closed and says what is in it; links inside the project lead somewhere."""
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0
    rest = BLOCK.sub("", text)
    assert "```" not in rest
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", rest):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_and_the_guide_have_examples_that_run() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "guide.md"):
        assert blocks(page, "python")
        assert blocks(page, "console")


def test_the_command_reference_is_what_help_says() -> None:
    current = cli_reference.PAGE.read_text(encoding="utf-8")
    assert cli_reference.page(current) == current, "run: python -m tools.cli_reference"


def test_the_reference_covers_all_commands() -> None:
    assert [name for name, _ in cli_reference.commands()] == [
        *("generate", "chat", "embed", "inspect", "tokenize", "convert"),
        *("quantize", "imatrix"),
        *("bench", "memory", "sparsity", "perplexity", "verify", "cpu"),
    ]
