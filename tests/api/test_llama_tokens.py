"""`Llama` at the level of tokens: vocabulary, eval, sample, generate, states, opening, closing."""

from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import (
    ContextOverflowError,
    InvalidArgumentError,
    Llama,
    LlamaError,
    ModelFileError,
    SamplingParams,
    SessionBusyError,
    StateError,
    UnsupportedError,
    bundled_model,
)
from llamacpp.api.options import IGNORED, REFUSED, SamplingOptions
from tests.random_models import write_random_model
from tests.small_models import write_talker

# The parameters of llama-cpp-python 0.3.35's constructor, model_path aside.
PEER = """n_gpu_layers split_mode main_gpu tensor_split vocab_only use_mmap use_mlock
kv_overrides seed n_ctx n_batch n_ubatch n_threads n_threads_batch rope_scaling_type
pooling_type attention_type rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor
yarn_beta_fast yarn_beta_slow yarn_orig_ctx logits_all embedding offload_kqv flash_attn
op_offload swa_full no_perf last_n_tokens_size lora_base lora_scale lora_path numa chat_format
chat_handler draft_model tokenizer type_k type_v spm_infill verbose"""


def test_tokenize_takes_bytes_and_text(llama: Llama) -> None:
    ids = llama.tokenize(b"the other")
    assert ids[0] == llama.token_bos() == 1
    assert llama.tokenize("the other") == ids
    assert llama.tokenize(b"the other", add_bos=False) == llama.tokenize(b"the other", False)
    assert llama.tokenize(b"the other", False) == ids[1:]
    end = llama.tokenizer.special_id("<|im_end|>")
    assert end in llama.tokenize(b"the<|im_end|>", special=True)
    assert end not in llama.tokenize(b"the<|im_end|>")


@pytest.mark.parametrize("text", [b"the other", "café 你好 🦙\n".encode(), b"\xff\xfe", b" two  "])
def test_detokenize_gives_the_bytes_back(llama: Llama, text: bytes) -> None:
    ids = llama.tokenize(text)
    assert llama.detokenize(ids) == text
    assert llama.detokenize(ids[1:]) == text
    parts = [llama.detokenize([t], prev_tokens=ids[:i]) for i, t in enumerate(ids)]
    assert b"".join(parts).removeprefix(b" ") == text


def test_control_tokens_are_shown_on_request(llama: Llama) -> None:
    assert llama.detokenize([1, 2]) == b""
    assert llama.detokenize([1, 2], special=True) == b"<s></s>"


def test_what_the_model_is(llama: Llama) -> None:
    assert llama.n_ctx() == 256
    assert llama.n_embd() == 64
    assert llama.n_vocab() == llama.tokenizer.n_vocab == len(llama.model.metadata.strings(
        "tokenizer.ggml.tokens"
    ))  # fmt: skip
    assert (llama.token_bos(), llama.token_eos(), llama.token_nl()) == (1, 2, 13)
    metadata = llama.metadata
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.context_length"] == "256"
    assert "tokenizer.ggml.tokens" not in metadata
    assert all(isinstance(value, str) for value in metadata.values())


def test_booleans_in_metadata_read_as_elsewhere(stories: Llama) -> None:
    assert stories.metadata["tokenizer.ggml.add_bos_token"] == "true"
    assert stories.metadata["tokenizer.ggml.add_eos_token"] == "false"


def test_the_loop_of_eval_and_sample_is_generate(llama: Llama) -> None:
    prompt = llama.tokenize(b"the other")
    want = list(islice(llama.generate(prompt, temp=0.0), 10))
    llama.reset()
    llama.eval(prompt)
    got = []
    for _ in range(10):
        got.append(llama.sample(temperature=0.0))
        llama.eval(got[-1:])
    assert got == want
    assert llama.session.tokens == prompt + got


def test_generate_as_llama_cpp_python_users_write_it(llama: Llama) -> None:
    tokens = llama.tokenize(b"the other")
    produced = []
    for token in llama.generate(tokens, top_k=40, top_p=0.95, temp=1.0, repeat_penalty=1.0):
        produced.append(token)
        if len(produced) == 5:
            break
    more = llama.generate([], reset=False, temp=0.0)
    assert len(list(islice(more, 3))) == 3
    more.close()
    assert llama.session.tokens[: len(tokens) + 5] == tokens + produced


def test_generate_gives_end_tokens_and_leaves_stopping_to_the_caller(llama: Llama) -> None:
    tokens = llama.tokenize(b"the other")
    ended = llama.generate(tokens, logit_bias={2: 1e6})
    assert list(islice(ended, 3)) == [2, 2, 2]
    ended.close()
    stopped = llama.generate(tokens, stopping_criteria=lambda ids, logits: len(ids) >= 6, seed=1)
    assert len(list(stopped)) == 6 - len(tokens)


def test_processors_count_in_sample_and_generate(llama: Llama) -> None:
    def only_nine(ids: Any, scores: Any) -> Any:
        scores[:9] = scores[10:] = -np.inf
        return scores

    llama.eval([1])
    assert llama.sample(logits_processor=only_nine) == 9
    assert list(islice(llama.generate([1], logits_processor=[only_nine]), 2)) == [9, 9]


def test_sampling_before_anything_was_evaluated_is_refused(llama: Llama) -> None:
    with pytest.raises(InvalidArgumentError, match="evaluate some tokens first"):
        llama.sample()
    with pytest.raises(TypeError, match="unexpected keyword argument 'heat'"):
        llama.sample(heat=1.0)  # type: ignore[call-arg]
    with pytest.raises(ContextOverflowError, match="do not fit into a context of 256"):
        llama.eval([1] * 257)


def test_reset_forgets_everything(llama: Llama) -> None:
    llama.eval([1, 2, 3])
    llama.reset()
    assert llama.session.tokens == []


def test_a_state_goes_on_exactly_where_it_was_saved(llama: Llama, talker: Path) -> None:
    llama("the other", max_tokens=7, temperature=0)
    saved = llama.save_state()
    tokens = llama.session.tokens
    want = list(islice(llama.generate([], reset=False, temp=0.0), 12))
    with Llama(talker) as other:
        other.eval([9, 9])
        other.load_state(saved)
        assert other.session.tokens == tokens
        assert list(islice(other.generate([], reset=False, temp=0.0), 12)) == want


def test_damaged_and_foreign_states_are_refused(llama: Llama, tmp_path: Path) -> None:
    llama.eval([1, 2, 3])
    saved = llama.save_state()
    with Llama(write_talker(tmp_path / "other.gguf", seed=1)) as other:
        with pytest.raises(StateError, match="another model"):
            other.load_state(saved)
        for damaged in (saved[:-1], saved[:60] + b"\0\1" + saved[62:], b"nonsense"):
            with pytest.raises(StateError, match=r"damaged|too short|not a saved"):
                other.load_state(damaged)
        assert other.session.tokens == []


def test_threads_take_turns_or_are_told(llama: Llama) -> None:
    stream = llama("the other", stream=True)
    next(stream)
    caught: list[BaseException] = []

    def intrude() -> None:
        try:
            llama("the other", max_tokens=1)
        except SessionBusyError as error:
            caught.append(error)

    def run() -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    run()
    assert len(caught) == 1
    stream.close()
    run()
    assert len(caught) == 1


def test_a_closed_model_says_so(talker: Path) -> None:
    llama = Llama(talker)
    llama.close()
    llama.close()
    uses: list[Any] = [
        lambda: llama("the"), lambda: llama.create_chat_completion([]), llama.save_state,
        llama.n_ctx, llama.n_vocab, llama.n_embd, llama.token_bos, llama.reset, llama.sample,
        lambda: llama.tokenize(b"x"), lambda: llama.detokenize([1]), lambda: llama.metadata,
        lambda: llama.eval([1]), lambda: llama.generate([1]), lambda: llama.load_state(b""),
        lambda: llama.model, lambda: llama.chat_format,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(LlamaError, match="this model was closed"):
            use()


def test_the_context_manager_closes(talker: Path) -> None:
    with Llama(talker) as llama:
        llama("the", max_tokens=1)
    with pytest.raises(LlamaError, match="closed"):
        llama("the")


@pytest.mark.parametrize("name", ["llama-spm", "llama-bpe", "qwen2", "gpt-2"])
def test_vocab_only_works_for_any_architecture(data_dir: Path, name: str) -> None:
    with Llama(data_dir / "vocab" / f"{name}.gguf", vocab_only=True) as llama:
        text = "Hello, wörld! 你好"
        ids = llama.tokenize(text.encode(), add_bos=False)
        assert llama.detokenize(ids).decode() == text
        assert llama.n_vocab() > 32000 - 1
        assert llama.metadata["tokenizer.ggml.model"] in ("llama", "gpt2")
        with pytest.raises(LlamaError, match="vocab_only=True"):
            llama("Hello")
        with pytest.raises(LlamaError, match="vocab_only=True"):
            llama.n_ctx()


def test_a_model_without_a_tokenizer_works_on_ids(tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "bare.gguf", Type.F32, n_layer=1)
    with Llama(path) as llama:
        assert len(list(islice(llama.generate([1, 2], temp=0.0), 4))) == 4
        llama.reset()
        llama.eval([5])
        assert 0 <= llama.sample(seed=1) < llama.n_vocab() == 300
        with pytest.raises(InvalidArgumentError, match="no tokenizer: work on token ids"):
            llama("text")


def test_opening_what_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="absent"):
        Llama(tmp_path / "absent.gguf")
    (tmp_path / "junk").write_bytes(b"this is not a model file, not at all")
    with pytest.raises(LlamaError, match="junk"):
        Llama(tmp_path / "junk")


def test_options_of_llama_cpp_python_count_are_ignored_or_refused(talker: Path) -> None:
    with Llama(
        model_path=str(talker), n_ctx=64, n_batch=16, n_threads=1, seed=5, vocab_only=False,
        chat_format=None, type_k=1, type_v=1, n_gpu_layers=-1, verbose=False, logits_all=True,
        use_mmap=True, use_mlock=False, rope_freq_base=0.0, lora_path=None, numa=False,
        n_threads_batch=2, flash_attn=True, last_n_tokens_size=64, tensor_split=[1.0],
    ) as llama:  # fmt: skip
        assert llama.n_ctx() == 64
    with Llama(talker, n_ctx=0) as llama:
        assert llama.n_ctx() == 256
    with Llama(bundled_model(), type_k=8, type_v="q8_0") as llama:
        assert llama("Once upon a time", max_tokens=4)["usage"]["completion_tokens"] == 4
    for name in REFUSED["Llama"]:
        with pytest.raises(UnsupportedError, match=f"{name}='x' is not supported"):
            Llama(talker, **{name: "x"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Llama\(\) got an unexpected keyword argument 'n_ctxx'"):
        Llama(talker, n_ctxx=5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'suffix'"):
        Llama(talker, suffix=None)
    for type_k, type_v, message in ((2, 2, "type_k is 2"), (0, 1, "must be the same")):
        with pytest.raises(InvalidArgumentError, match=message):
            Llama(talker, type_k=type_k, type_v=type_v)
    with pytest.raises(InvalidArgumentError, match="n_ctx must be from 1 to 2147483647"):
        Llama(talker, n_ctx=-1)


def test_every_option_of_its_peer_is_accounted_for() -> None:
    own = {"vocab_only", "seed", "n_ctx", "n_batch", "n_threads", "chat_format", "type_k", "type_v"}
    own |= {"use_mmap", "use_mlock", "pooling_type"}
    assert set(PEER.split()) == own | set(IGNORED) | set(REFUSED["Llama"])


def test_typed_options_are_those_of_sampling() -> None:
    assert set(SamplingOptions.__annotations__) == set(SamplingParams.__dataclass_fields__)
