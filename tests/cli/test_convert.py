"""`convert`, and what the other commands do with files of 2023."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type
from legacy_models import OldModel
from random_models import write_random_model

from llamacpp.cli import main
from llamacpp.format import ModelFile
from llamacpp.format.legacy import convert
from tests.small_models import talker_vocabulary


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(
        tmp_path_factory.mktemp("m") / "m.gguf", Type.Q4_0, n_layer=1, n_kv_head=4,
        vocabulary=talker_vocabulary(None),
    )  # fmt: skip


@pytest.fixture
def old(source: Path, tmp_path: Path) -> Path:
    return OldModel.of(source, 1).write(tmp_path / "old.bin", "ggjt", 1)


def test_convert_writes_a_file_that_runs(here, old, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    done = here("convert", old, new, "--ctx", "64", "--norm-eps", "1e-5")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"wrote {new}\n"
    with ModelFile(new) as file:
        assert file.metadata["llama.context_length"] == 64
    done = here("generate", "-m", new, "-p", "the", "-n", "4", "--temp", "0", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"the")


def test_convert_never_overwrites_unless_forced(here, old, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    new.write_bytes(b"precious")
    done = here("convert", old, new)
    assert done.returncode == 2
    assert done.stderr.decode() == f"llamacpp: {new} exists; --force replaces it\n"
    assert new.read_bytes() == b"precious"
    assert here("convert", old, new, "--force").returncode == 0
    with ModelFile(new) as file:
        assert file.format == "GGUF v3"


def test_convert_tells_what_is_wrong(here, old, source, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    for arguments, message in (
        ((source, new), "is a GGUF file already"),
        ((tmp_path / "absent", new), "cannot open: No such file or directory"),
        ((old, tmp_path / "absent" / "new.gguf"), "cannot write: No such file or directory"),
        ((old, new, "--ctx", "0"), "a context of 0 positions is not possible"),
        ((old, tmp_path, "--force"), "cannot write: Is a directory"),
    ):
        done = here("convert", *arguments)
        assert done.returncode == 2
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    old.write_bytes(old.read_bytes()[:-1])
    done = here("convert", old, new)
    assert done.returncode == 2
    assert b"the download is incomplete" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_ctrl_c_leaves_nothing(here, old, tmp_path, monkeypatch) -> None:
    """The signal that Ctrl-C sends, in the middle of a tensor."""
    monkeypatch.setattr(convert, "_rewrite", lambda *_: signal.raise_signal(signal.SIGINT))
    done = here("convert", old, tmp_path / "new.gguf")
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"\n")
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]


def test_progress_is_shown_on_a_terminal_and_wiped(old, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["convert", str(old), str(tmp_path / "new.gguf")]) == 0
    shown = capsys.readouterr().err
    assert "converting [" in shown
    assert f"[{'#' * 30}] 0/0 MiB\r\033[K" in shown
    assert shown.endswith(f"wrote {tmp_path / 'new.gguf'}\n")


def test_inspect_shows_old_files_in_the_terms_of_gguf(here, old, source, tmp_path) -> None:
    done = here("inspect", old)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith(f"{old}: ggjt v1, ")
    assert "  llama.embedding_length = 256" in lines
    assert any("Q4_0" in line and line.endswith(" 5.000 bits each") for line in lines)
    parts = OldModel.of(source, 1).write(tmp_path / "parts.bin", "ggml", 0, n_parts=2)
    done = here("inspect", parts)
    assert done.stdout.decode().splitlines()[0].endswith(" in 2 parts")
    found = json.loads(here("inspect", parts, "--json").stdout)
    assert (found["format"], found["version"], found["parts"]) == ("ggml", 0, 2)
    assert found["tensors"][0]["shape"][0] == 256


def test_generate_runs_ggjt_in_place_or_says_how_to_convert(here, old, source, tmp_path) -> None:
    done = here("generate", "-m", old, "-p", "the")
    assert done.returncode == 2
    assert f"llamacpp convert {old} NEW.gguf" in done.stderr.decode()
    new = OldModel.of(source, 3).write(tmp_path / "v3.bin", "ggjt", 3)
    done = here("generate", "-m", new, "-p", "the", "-n", "4", "-c", "64", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"the")


def test_a_folder_is_a_hugging_face_model(run, tmp_path) -> None:
    """What has no weights here is said in a line; tests/convert has the conversions."""
    folder, target = tmp_path / "model", tmp_path / "model.gguf"
    folder.mkdir()
    for content, message in (
        (None, b"config.json: cannot read"),
        ('{"architectures": ["MambaForCausalLM"]}', b"'MambaForCausalLM' is not supported"),
    ):
        if content is not None:
            (folder / "config.json").write_text(content)
        done = run("convert", folder, target)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count(b"\n") == 1
    assert (
        b"--norm-eps is not for a folder" in run("convert", folder, target, "--norm-eps", 1).stderr
    )
    assert (
        b"--type is not for a file of 2023" in run("convert", "x", target, "--type", "f16").stderr
    )
    assert not target.exists()
