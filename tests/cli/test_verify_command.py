"""`llamacpp verify`: agreement with PyTorch, its exit codes, errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="pip install 'llamacpp[parity]' to compare with PyTorch")
pytest.importorskip("transformers", reason="pip install 'llamacpp[parity]'")

from llamacpp import Model
from llamacpp.convert import convert_hf
from llamacpp.measure.verify import verify
from tests import hf_models
from tests.convert.test_vocabulary import train_bpe

OPTIONS: dict[str, Any] = {
    "vocab_size": 310, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip


@pytest.fixture(scope="module", params=["Llama", "Gemma2", "GPT2", "Mixtral"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / request.param
    options = OPTIONS
    if request.param == "GPT2":
        options = {"vocab_size": 310, "n_positions": 128, "n_embd": 64, "n_layer": 3, "n_head": 4}
    if request.param == "Mixtral":  # a model that is rounded might choose other experts
        options = OPTIONS | {"num_local_experts": 4, "num_experts_per_tok": 4}
    hf_models.save(path, hf_models.make(request.param, options))
    train_bpe(path)
    return path


def test_a_folder_agrees_with_itself(here, folder) -> None:
    done = here("verify", folder, "-t", 1)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode()
    rows = re.findall(r"^\| (layer \d|logits) +\| +(\S+) +\| +(\S+) +\|$", text, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["layer 0", "layer 1", "layer 2", "logits"]
    assert all(float(nmse) < 1e-9 for _, _, nmse in rows)
    assert "within the bound" in text


def test_a_file_against_its_folder_and_a_text(here, folder, tmp_path) -> None:
    target = tmp_path / "model.gguf"
    convert_hf(folder, target, type="q8_0")
    done = here("verify", target, "--against", folder, "-p", "the other day", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["holds"]
    assert found["bound"] == 2e-3
    assert 1e-9 < found["rows"][-1]["nmse"] < 2e-3
    assert found["kl"] > 0
    # What is too much to ask is told by the exit code.
    done = here("verify", target, "--against", folder, "--bound", "1e-12")
    assert done.returncode == 1
    assert b"BEYOND the bound" in done.stdout


def test_another_model_does_not_agree(folder, tmp_path) -> None:
    kind = folder.name
    options = OPTIONS if kind != "GPT2" else {
        "vocab_size": 310, "n_positions": 128, "n_embd": 64, "n_layer": 3, "n_head": 4,
    }  # fmt: skip
    other = hf_models.write(tmp_path / "other.gguf", hf_models.make(kind, options, seed=1))
    with Model.open(other, n_threads=1) as model:
        found = verify(model, folder, [[5, 6, 7, 8]])
    assert not found.holds
    assert found.rows[0].nmse > 0.1
    assert found.rows[-1].nmse > 0.1


def test_what_cannot_be_compared_is_said_in_a_line(run, folder, tmp_path) -> None:
    target = tmp_path / "model.gguf"
    convert_hf(folder, target, type="f32", vocabulary=False)
    for options, message in (
        ([target], b"--against is for a GGUF file"),
        ([folder, "--against", folder], b"--against is for a GGUF file"),
        ([target, "--against", "absent"], b"absent: is no folder"),
        ([target, "--against", tmp_path], b"transformers cannot load it"),
        ([target, "--against", folder, "-p", "x"], b"has no tokenizer"),
    ):
        done = run("verify", *options)
        assert done.returncode == 2
        assert message in done.stderr
