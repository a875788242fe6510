"""The public names: complete, sorted, documented, and cheap to import."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import llamacpp
from llamacpp import errors

ROOT = Path(__file__).resolve().parent.parent


def test_all_is_the_public_namespace_and_sorted() -> None:
    assert llamacpp.__all__ == sorted(set(llamacpp.__all__))
    assert dir(llamacpp) == llamacpp.__all__
    assert not set(llamacpp.__all__) & {"annotations", "import_module", "TYPE_CHECKING", "Any"}


@pytest.mark.parametrize("name", llamacpp.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(llamacpp, name)
    assert value.__name__ == name
    assert len(inspect.getdoc(value) or "") > 20
    for method, member in vars(value).items() if inspect.isclass(value) else ():
        if not method.startswith("_") and (callable(member) or isinstance(member, property)):
            assert inspect.getdoc(member), f"{name}.{method} has no docstring"


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING are all that they know of."""
    tree = ast.parse(Path(llamacpp.__file__ or "").read_text(encoding="utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If)]
    imported = {
        alias.name
        for block in blocks
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(llamacpp.__all__) - {"bundled_model"}


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(llamacpp.__all__)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.LlamaError)
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("name", "members"),
    [
        (
            "Llama",
            "__call__ create_completion create_chat_completion tokenize detokenize eval sample"
            " generate reset set_seed save_state load_state n_ctx n_vocab n_embd token_bos"
            " token_eos token_nl metadata close __enter__ __exit__ model session tokenizer"
            " chat_format embed create_embedding pooling_type embedder",
        ),
        (
            "Model",
            "open session embedder tokenizer metadata config n_vocab weights chat_format close"
            " copied_weight_bytes memory_report __enter__ __exit__",
        ),
        (
            "Session",
            "eval forward generate rewind keep_prefix reset save load cancel tokens n_past logits",
        ),
        ("Embedder", "embed tokens embed_tokens n_embd"),
    ],
)
def test_what_programs_rely_on_is_there(name: str, members: str) -> None:
    missing = [m for m in members.split() if not hasattr(getattr(llamacpp, name), m)]
    assert not missing


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'llamacpp' has no attribute 'Lama'"):
        _ = llamacpp.Lama  # type: ignore[attr-defined]


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import llamacpp")
    assert {name for name in loaded if name.startswith("llamacpp")} == {"llamacpp"}
    packages = {name.split(".")[0] for name in loaded}
    assert not packages & {"numpy", "sentencepiece", "jinja2", "cffi", "_cffi_backend", "ctypes"}


@pytest.mark.parametrize("module", ["errors", "format", "tensors", "tokenizer", "chat"])
def test_what_works_without_weights_does_without_numpy(module: str) -> None:
    packages = {name.split(".")[0] for name in loaded_after(f"import llamacpp.{module}")}
    assert not packages & {"numpy", "sentencepiece", "jinja2"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(llamacpp.__file__ or "").parent / "py.typed").exists()
