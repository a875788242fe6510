"""`inspect`, `tokenize`, `cpu`, and the help of all commands."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from gguf_bytes import F32, U32, entry, gguf, model, string, tensor

from llamacpp import Llama, __version__
from llamacpp._native import available_levels
from llamacpp.cli import build_parser
from llamacpp.cli.common import Prefill
from llamacpp.format import GGMLType, ValueType

ROOT = Path(__file__).resolve().parent.parent.parent


def test_inspect_shows_metadata_tensors_and_sizes(here, talker) -> None:
    done = here("inspect", talker)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"{talker}: GGUF v3, ")
    assert '  general.architecture = "llama"' in lines
    assert "  llama.embedding_length = 64" in lines
    assert any(line.endswith(" entries)") and "<0x00>" in line for line in lines)
    (row,) = (line.split() for line in lines if "blk.0.ffn_up.weight" in line)
    assert row == ["blk.0.ffn_up.weight", "F32", "64", "x", "96", "24.0", "KiB"]
    assert lines[-1].endswith(": 32.000 bits per weight")


def test_inspect_in_json_holds_everything(here, talker) -> None:
    done = here("inspect", talker, "--json")
    found = json.loads(done.stdout)
    assert sorted(found) == [
        "alignment", "format", "metadata", "nbytes", "parameters", "parts", "path", "tensors",
        "types", "version",
    ]  # fmt: skip
    assert found["nbytes"] == talker.stat().st_size
    with Llama(talker) as llama:
        tokens = found["metadata"]["tokenizer.ggml.tokens"]
        assert len(tokens) == llama.n_vocab()
        weights = llama.model.weights
        assert {t["name"] for t in found["tensors"]} == set(weights)
    assert found["tensors"][0]["shape"] == [64, len(tokens)]
    assert found["types"]["F32"]["parameters"] == found["parameters"]
    assert found["types"]["F32"]["nbytes"] == 4 * found["parameters"]


def test_inspect_needs_neither_weights_nor_numpy(tmp_path: Path) -> None:
    """A file of 20 GB, all hole: what is read of it is its header."""
    path = tmp_path / "large.gguf"
    rows = 5_000_000
    head = gguf(
        [entry("general.architecture", ValueType.STRING, string("llama"))],
        [tensor("token_embd.weight", (1024, rows), GGMLType.F32)],
        b"\0" * 32,
    )
    path.write_bytes(head)
    os.truncate(path, len(head) + 4 * 1024 * rows)
    code = (
        "import sys; from llamacpp.cli import main; code = main(['inspect', sys.argv[1]]);"
        "heavy = {'numpy', 'jinja2', 'sentencepiece'} & set(sys.modules);"
        "sys.exit(code or (str(heavy) if heavy else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, cwd=ROOT, timeout=20, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"19.07 GiB" in done.stdout


def test_inspect_lets_no_file_write_to_the_terminal(here, tmp_path) -> None:
    path = tmp_path / "rude.gguf"
    rude = "\x1b[2J\x9b31m\u202etxt\nline"
    name = "w\x1b[2J\n"
    values = (GGMLType.F32, (2,), struct.pack("<2f", 1.0, 2.0))
    path.write_bytes(model({"general.architecture": rude, f"k{rude}": rude}, {name: values}))
    done = here("inspect", path)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "\\x9b31m" in text
    assert json.loads(here("inspect", path, "--json").stdout)["metadata"][f"k{rude}"] == rude


def test_inspect_shows_numbers_of_every_kind(here, tmp_path) -> None:
    path = tmp_path / "kinds.gguf"
    path.write_bytes(
        gguf(
            [
                entry("a.float", F32, float("nan")),
                entry("a.count", U32, 7),
                entry("a.flag", ValueType.BOOL, True),
            ]
        )
    )
    text = here("inspect", path).stdout.decode()
    assert "a.float = NaN" in text
    assert "a.flag = true" in text
    found = json.loads(here("inspect", path, "--json").stdout)["metadata"]
    assert found == {"a.float": "nan", "a.count": 7, "a.flag": True}


def test_tokenize_shows_ids_and_text(here, talker, tmp_path) -> None:
    done = here("tokenize", "-m", talker, "the é\x80")
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["1", "'<s>'"]
    assert [line.split(maxsplit=1)[1] for line in lines][-2:] == ["b'\\xc2'", "b'\\x80'"]
    assert "'é'" in lines[-3]
    with Llama(talker) as llama:
        ids = llama.tokenize("the other")
        special = llama.tokenize("<|im_end|>", special=True)
    want = " ".join(map(str, ids)).encode() + b"\n"
    assert here("tokenize", "-m", talker, "--ids", "the other").stdout == want
    assert here("tokenize", "-m", talker, "--ids", "--no-bos", "the other").stdout == want[2:]
    file = tmp_path / "text"
    file.write_bytes(b"the other")
    assert here("tokenize", "-m", talker, "--ids", "-f", file).stdout == want
    shown = here("tokenize", "-m", talker, "--ids", "--parse-special", "<|im_end|>").stdout
    assert shown == " ".join(map(str, special)).encode() + b"\n"


def test_tokenize_reads_standard_input(run, talker) -> None:
    want = run("tokenize", "-m", talker, "--ids", "caf\u00e9\n").stdout
    piped = run("tokenize", "-m", talker, "--ids", "-", text="caf\u00e9\n".encode()).stdout
    assert piped == want
    assert len(want.split()) > 4


@pytest.mark.parametrize("name", ["llama-bpe", "qwen2"])
def test_tokenize_works_for_any_architecture(here, data_dir, name) -> None:
    path = data_dir / "vocab" / f"{name}.gguf"
    done = here("tokenize", "-m", path, "--ids", "--no-bos", "Hello world")
    with Llama(path, vocab_only=True) as llama:
        want = llama.tokenize("Hello world", add_bos=False)
    assert [int(word) for word in done.stdout.split()] == want


def test_tokenize_without_text_or_file_is_bad_usage(here, talker) -> None:
    done = here("tokenize", "-m", talker)
    assert done.returncode == 2
    assert b"give a text: TEXT, -f FILE, or - for standard input" in done.stderr
    done = here("tokenize", "-m", talker, "-f", "/absent")
    assert done.stderr == b"llamacpp: cannot read /absent: No such file or directory\n"


def test_cpu_names_the_levels_and_the_one_in_use(run) -> None:
    lowest = run("cpu", LLAMACPP_ISA="scalar")
    lines = lowest.stdout.decode().splitlines()
    states = {line.split()[0]: line for line in lines}
    assert "in use" in states["scalar"]
    for level in available_levels()[1:]:
        assert "available" in states[level]
    assert lines[-1].startswith("threads")
    wrong = run("cpu", LLAMACPP_ISA="mmx")
    assert wrong.returncode == 2
    assert b"LLAMACPP_ISA: no level named 'mmx'; levels: scalar, avx2" in wrong.stderr
    assert wrong.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "command", ["", "generate", "chat", "inspect", "tokenize", "convert", "bench", "cpu"]
)
def test_every_command_explains_itself(here, command) -> None:
    done = here(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    assert text.startswith(f"usage: llamacpp {command}".rstrip())
    assert len(text) > 200
    if not command:
        assert "exit codes:" in text


def test_the_version_is_told(here) -> None:
    assert here("--version").stdout.decode() == f"llamacpp {__version__}\n"


def test_the_parser_is_made_without_side_effects() -> None:
    assert build_parser().format_help() == build_parser().format_help()


def test_progress_is_shown_on_a_terminal_and_wiped(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    show = Prefill(quiet=False)
    show(512, 1536)
    show(1024, 1536)
    show(1536, 1536)
    shown = capsys.readouterr().err
    assert "prompt [##########                    ] 512/1536" in shown
    assert shown.endswith("\r\033[K")
    Prefill(quiet=False)(10, 10)  # done in one go: nothing to show
    Prefill(quiet=True)(5, 10)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    Prefill(quiet=False)(5, 10)
    assert capsys.readouterr().err == ""
