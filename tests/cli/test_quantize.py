"""`quantize` and `imatrix`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type
from random_models import write_random_model

from llamacpp.cli import main
from llamacpp.format import GGMLType, ModelFile
from llamacpp.quantize import model as quantize_module
from tests.small_models import talker_vocabulary


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(
        tmp_path_factory.mktemp("m") / "m.gguf", Type.F32, n_layer=1,
        vocabulary=talker_vocabulary(None),
    )  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the other one was there when the rain began to fall. " * 20)
    return path


def test_quantize_writes_a_file_that_runs(here, source, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    done = here("quantize", source, new, "q4_k_m", "-t", "2")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.decode().startswith(f"wrote {new}: ")
    assert "bits per weight" in done.stderr.decode()
    done = here("generate", "-m", new, "-p", "the", "-n", "4", "-q", "-c", "64")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_dry_run_shows_every_tensor_and_writes_nothing(here, source, tmp_path) -> None:
    done = here("quantize", source, tmp_path / "new.gguf", "Q4_K_M", "--dry-run")
    lines = done.stdout.decode().splitlines()
    with ModelFile(source) as file:
        assert [line.split()[0] for line in lines[:-1]] == list(file.tensors)
    assert "F32 -> Q6_K" in next(line for line in lines if line.startswith("output.weight"))
    assert lines[-1].startswith("Q4_K_M: ")
    assert list(tmp_path.iterdir()) == []
    here("quantize", source, tmp_path / "new.gguf", "Q4_K_M")
    size = float(lines[-1].split(" became ")[1].split()[0]) * 1e6
    with ModelFile(tmp_path / "new.gguf") as file:
        assert sum(t.nbytes for t in file.tensors.values()) == pytest.approx(size, abs=5e4)


def test_two_bits_without_an_importance_matrix_get_a_warning(here, source, tmp_path) -> None:
    for mix, warned in (("IQ2_XXS", True), ("IQ3_XXS", False)):
        done = here("quantize", source, tmp_path / f"{mix}.gguf", mix)
        assert done.returncode == 0
        assert (b"without --imatrix" in done.stderr) == warned


def test_an_importance_matrix_is_measured_and_used(here, source, text, tmp_path) -> None:
    matrix, new = tmp_path / "i.gguf", tmp_path / "new.gguf"
    done = here("imatrix", "-m", source, "-f", text, "-o", matrix, "-c", "64")
    assert (done.returncode, done.stdout) == (0, b"")
    assert "7 matrices" in done.stderr.decode()
    done = here("quantize", source, new, "Q2_K", "--imatrix", matrix, "--keep-output", "Q8_0")
    assert done.returncode == 0
    with ModelFile(new) as file:
        assert file.tensors["output.weight"].type == GGMLType.Q8_0
        assert file.metadata["quantize.imatrix.dataset"] == "text.txt"
    # the embedding and the output are in no importance matrix, and that is said
    assert "token_embd.weight, output.weight" in done.stderr.decode()
    assert here("imatrix", "-m", source, "-f", text, "-o", matrix).returncode == 2
    assert (
        here("imatrix", "-m", source, "-f", text, "-o", matrix, "-c", "32", "--force").returncode
        == 0
    )


def test_quantize_tells_what_is_wrong(here, source, text, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    for arguments, message in (
        ((source, new, "Q9"), "there is no type 'Q9'"),
        ((source, new, "Q4_0", "--keep-output", "Q9"), "there is no type 'Q9'"),
        ((source, new, "Q4_0", "--imatrix", text), "importance matrix"),
        ((source, new, "Q4_0", "--imatrix", tmp_path / "absent"), "No such file"),
        ((tmp_path / "absent", new, "Q4_0"), "No such file"),
        ((source, source, "Q4_0", "--force"), "the model itself"),
        ((source, new, "Q4_0", "-t", "0"), "not from 1 to 256"),
    ):
        done = here("quantize", *arguments)
        assert (done.returncode, done.stdout) == (2, b""), arguments
        assert message in done.stderr.decode()
        assert not new.exists()


def test_quantize_never_overwrites_unless_forced(here, source, tmp_path) -> None:
    new = tmp_path / "new.gguf"
    new.write_bytes(b"precious")
    done = here("quantize", source, new, "Q8_0")
    assert done.stderr.decode() == f"llamacpp: {new} exists; --force replaces it\n"
    assert new.read_bytes() == b"precious"
    assert here("quantize", source, new, "Q8_0", "--force").returncode == 0
    done = here("quantize", new, tmp_path / "again.gguf", "Q4_0")
    assert "Q8_0 already" in done.stderr.decode()
    assert (
        here("quantize", new, tmp_path / "again.gguf", "Q4_0", "--allow-requantize").returncode == 0
    )


def test_ctrl_c_leaves_nothing(source, tmp_path, monkeypatch, capsys) -> None:
    def interrupted(*arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("never reached")

    monkeypatch.setattr(quantize_module, "encode", interrupted)
    assert main(["quantize", str(source), str(tmp_path / "new.gguf"), "Q4_0"]) == 130
    assert list(tmp_path.iterdir()) == []
