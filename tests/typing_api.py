"""What type checkers must see of the public names: read by `mypy --strict`, never run."""

from collections.abc import Generator
from typing import Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

from llamacpp import (
    Embedder,
    InvalidArgumentError,
    Llama,
    LlamaError,
    LogitsProcessorList,
    Model,
    SamplingParams,
    Session,
    bundled_model,
)
from llamacpp.api.schema import (
    ChatChunk,
    ChatCompletion,
    Completion,
    CompletionLogprobs,
    EmbeddingList,
    Vector,
)
from llamacpp.memory import MemoryReport
from llamacpp.tokenizer import Tokenizer


def completions(llama: Llama) -> None:
    whole = llama("Once", max_tokens=32, stop=["Q:"], echo=True)
    assert_type(whole, Completion)
    assert_type(whole["choices"][0]["text"], str)
    assert_type(whole["choices"][0]["logprobs"], CompletionLogprobs | None)
    assert_type(whole["choices"][0]["finish_reason"], Literal["stop", "length"] | None)
    assert_type(llama.create_completion([1, 2], None, 32), Completion)
    stream = llama.create_completion("Once", stream=True, temperature=0.0, seed=None)
    assert_type(stream, Generator[Completion, None, None])
    llama("Once", suffix="end")  # type: ignore[call-overload]
    llama("Once", max_token=3)  # type: ignore[call-overload]
    llama("Once", temperature="hot")  # type: ignore[call-overload]


def chats(llama: Llama, stream: bool) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    answer = llama.create_chat_completion(messages, logprobs=True, top_logprobs=2)
    assert_type(answer, ChatCompletion)
    assert_type(answer["choices"][0]["message"]["content"], str)
    chunks = llama.create_chat_completion(messages, stream=True)
    assert_type(chunks, Generator[ChatChunk, None, None])
    either = llama.create_chat_completion(messages, stream=stream)
    assert_type(either, ChatCompletion | Generator[ChatChunk, None, None])


def tokens(llama: Llama) -> None:
    ids = llama.tokenize(b"Once", add_bos=True, special=False)
    assert_type(ids, list[int])
    assert_type(llama.detokenize(ids), bytes)
    assert_type(llama.sample(top_k=40, temp=0.5), int)
    assert_type(llama.n_ctx(), int)
    assert_type(llama.metadata, dict[str, str])
    assert_type(llama.save_state(), bytes)
    for token in llama.generate(ids, top_k=40, temp=0.8, reset=True):
        assert_type(token, int)
    with Llama(bundled_model(), n_ctx=512, seed=1) as opened:
        assert_type(opened, Llama)


def embeddings(llama: Llama) -> None:
    assert_type(llama.embed("Once"), Vector)
    assert_type(llama.embed(["Once"], normalize=True), list[Vector])
    assert_type(llama.embed("Once", return_count=True), tuple[Vector, int])
    assert_type(llama.embed(["Once"], return_count=True), tuple[list[Vector], int])
    assert_type(llama.create_embedding("Once"), EmbeddingList)
    assert_type(llama.pooling_type(), int)
    embedder = llama.model.embedder(512, pooling="mean")
    assert_type(embedder, Embedder)
    assert_type(embedder.embed(["Once", [1, 2]]), list[npt.NDArray[np.float32]])


def one(ids: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return scores


def processors(llama: Llama) -> None:
    llama("Once", logits_processor=one, stopping_criteria=lambda ids, logits: len(ids) > 5)
    llama("Once", logits_processor=LogitsProcessorList([one]))


def engine() -> None:
    with Model.open("model.gguf", n_threads=2) as model:
        assert_type(model, Model)
        session = model.session(n_ctx=512)
        assert_type(session, Session)
        assert_type(model.tokenizer, Tokenizer | None)
        assert_type(model.memory_report(), MemoryReport)
        assert_type(session.eval([1], "all"), npt.NDArray[np.float32])
        assert_type(session.eval([1], None), None)
        params = SamplingParams(temperature=0.5, seed=1)
        for token in session.generate([1], max_tokens=5, params=params):
            assert_type(token, int)


def errors() -> None:
    try:
        SamplingParams(top_p=2.0)
    except InvalidArgumentError as error:
        as_base: LlamaError = error
        as_builtin: ValueError = error
        print(as_base, as_builtin)
