"""Models for lm-evaluation-harness (EleutherAI): standard tasks, scored with llamacpp.

Importing this module registers the model type "llamacpp" with `lm_eval`, which
`pip install 'llamacpp[eval]'` installs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from llamacpp import ops
from llamacpp.api.llama import Llama
from llamacpp.api.prompt import text_tokens
from llamacpp.errors import InvalidArgumentError

__all__ = ["LlamacppLM"]

_MAX_TOKENS = 256  # of an answer for which a task sets no limit, as in the harness's own models
_SAMPLING = ("temperature", "top_p", "top_k")


@register_model("llamacpp")
class LlamacppLM(LM):  # type: ignore[misc] # types of the harness are not asked for
    """A GGUF file, as the harness asks it.

    Requests in a row that begin alike, as the choices of a question do, are evaluated from where
    they differ.

    Args:
        path: the file.
        n_ctx: tokens of the context; None: what the model was trained for.
        n_threads: None: the cores allowed.
        harness: batch_size, device and the like, which the harness gives to every model; unused.

    Raises:
        LlamaError: as `Llama`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        n_ctx: int | None = None,
        n_threads: int | None = None,
        **harness: Any,
    ) -> None:
        super().__init__()
        self._llama = Llama(path, n_ctx=n_ctx, n_threads=n_threads)
        self._tokenizer = self._llama.tokenizer

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Ln p of a continuation, and whether greedy decoding gives it, for each request.

        A context too long loses its beginning.

        Raises:
            InvalidArgumentError: a continuation has no tokens, or does not fit by itself.
        """
        results = []
        for request in tqdm(requests, disable=disable_tqdm):
            found = self._score(*self._encode_pair(*request.args))
            self.cache_hook.add_partial("loglikelihood", request.args, found)
            results.append(found)
        return results

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Ln p of a whole text, each token once, in windows of the context, for each request."""
        results = []
        for request in tqdm(requests, disable=disable_tqdm):
            tokens = self._tokenizer.encode(request.args[0], add_bos=False, add_eos=False)
            windows = get_rolling_token_windows(tokens, self._prefix(), self._llama.n_ctx(), 1)
            found = sum(self._score(*make_disjoint_window(window))[0] for window in windows)
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, found)
            results.append(found)
        return results

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Text that follows, greedily unless the task samples, up to a stop string.

        Raises:
            InvalidArgumentError: an option of the task is not known here, or there is no room.
        """
        results = []
        for request in tqdm(requests, disable=disable_tqdm):
            context, options = request.args
            found = self._generate(context, options)
            self.cache_hook.add_partial("generate_until", request.args, found)
            results.append(found)
        return results

    def _prefix(self) -> int:
        """The token before a text that nothing precedes."""
        for token in (self._tokenizer.bos_id, self._tokenizer.eos_id):
            if token is not None:
                return token
        raise InvalidArgumentError("this model has no BOS or EOS token to begin a text with")

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Tokens of both, encoded together and split where the context alone would end."""
        kept = context.rstrip()
        if not kept:
            text = context + continuation
            tokens = self._tokenizer.encode(text, add_bos=False, add_eos=False)
            return [self._prefix()], tokens
        # A space at the end of the context belongs to the word that follows.
        head = text_tokens(self._tokenizer, kept)
        whole = text_tokens(self._tokenizer, context + continuation)
        return whole[: len(head)], whole[len(head) :]

    def _score(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[float, bool]:
        n, n_ctx, session = len(continuation), self._llama.n_ctx(), self._llama.session
        if not 0 < n <= n_ctx:
            raise InvalidArgumentError(
                f"a continuation has {n} tokens; from 1 to {n_ctx} can be scored: for more, give a"
                " larger n_ctx"
            )
        # The last token of all is only predicted.
        context = list(context)[-(n_ctx - n + 1) :]
        todo = session.keep_prefix(context)
        if todo[:-1]:
            session.eval(todo[:-1], None)
        rows = session.eval([todo[-1], *continuation[:-1]], "all")
        pairs = list(zip(rows, continuation, strict=True))
        total = sum(float(row[token]) - ops.log_sum_exp(row) for row, token in pairs)
        return total, all(int(row.argmax()) == token for row, token in pairs)

    def _generate(self, context: str, options: Mapping[str, Any]) -> str:
        known = {*_SAMPLING, "until", "max_gen_toks", "do_sample"}
        if unknown := sorted(set(options) - known):
            raise InvalidArgumentError(
                f"the task asks for {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        until, n = options.get("until") or [], int(options.get("max_gen_toks", _MAX_TOKENS))
        room = self._llama.n_ctx() - n
        if room < 1:
            raise InvalidArgumentError(
                f"an answer of {n} tokens leaves no room in a context of {self._llama.n_ctx()}:"
                " give a larger n_ctx"
            )
        sampling: dict[str, Any] = {"temperature": 0.0}
        if options.get("do_sample"):
            sampling |= {name: options[name] for name in _SAMPLING if name in options}
        answer = self._llama.create_completion(
            text_tokens(self._tokenizer, context)[-room:], max_tokens=n,
            stop=[until] if isinstance(until, str) else list(until), **sampling,
        )  # fmt: skip
        text: str = answer["choices"][0]["text"]
        return text
