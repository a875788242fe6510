"""``llamacpp chat``: a conversation in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from llamacpp import bundled_model
from llamacpp.cli import common
from llamacpp.errors import ContextOverflowError

if TYPE_CHECKING:
    from llamacpp.api.llama import Llama
    from llamacpp.api.options import SamplingOptions

__all__ = ["add_parser", "run"]

HELP = """\
/reset  forget the conversation
/help   show this
/exit   leave (or Ctrl-D)
Ctrl-C stops an answer; at the prompt it clears the line."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Define the command."""
    parser = commands.add_parser(
        "chat",
        help="hold a conversation",
        description="Talk with a model in the terminal. Commands while chatting:\n\n" + HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-s", "--system", metavar="TEXT", help="system message to begin with")
    parser.add_argument(
        "--chat-format", metavar="NAME",
        help="built-in format's name or Jinja source (default: the file's own template)",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="no greeting")
    common.add_sampling_options(parser)
    common.add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from llamacpp.api.llama import Llama

    common.sampling_params(args)  # refuse bad values before anything is loaded
    with Llama(
        args.model or bundled_model(),
        n_ctx=args.ctx,
        n_threads=args.threads,
        chat_format=args.chat_format,
        seed=args.seed,
        type_k=args.cache_type,
        type_v=args.cache_type,
        use_mlock=args.mlock,
        **common.memory_options(args),
    ) as llama:
        _ = llama.session, llama.chat_format  # encoders and unknown formats are refused now
        if not args.quiet:
            print(f"{llama.model_path}: type a message, or /help", file=sys.stderr)
        _Conversation(llama, args).run()
    return 0


class _Conversation:
    """The messages so far, and the loop that adds to them."""

    def __init__(self, llama: Llama, args: argparse.Namespace) -> None:
        self._llama = llama
        self._start = [{"role": "system", "content": args.system}] if args.system else []
        self._messages = list(self._start)
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._sampling: SamplingOptions = {
            "temperature": args.temp,
            "top_k": args.top_k,
            "top_p": args.top_p,
            "min_p": args.min_p,
            "repeat_penalty": args.repeat_penalty,
        }

    def run(self) -> None:
        """Read lines until the end of input or /exit."""
        if self._interactive:
            import readline  # noqa: F401  line editing and history in input()
        more = True
        while more:
            try:
                more = self._turn()
            except KeyboardInterrupt:  # wherever it falls, at the prompt or between two steps
                if not self._interactive:
                    raise
                print(file=sys.stderr)

    def _turn(self) -> bool:
        """Read a line and do what it asks for; False ends the conversation."""
        try:
            line = self._read()
        except EOFError:
            return False
        if line == "/exit":
            return False
        if line == "/help":
            print(HELP, file=sys.stderr)
        elif line == "/reset":
            self._messages = list(self._start)
            print("(a new conversation)", file=sys.stderr)
        elif line.startswith("/"):
            message = f"there is no command {common.printable(line)}; /help lists them"
            print(message, file=sys.stderr)
        elif line:
            self._answer(line)
        return True

    def _read(self) -> str:
        """The next line. On a terminal input() edits it; what is no UTF-8 becomes U+FFFD."""
        if self._interactive:
            data = os.fsencode(input("> "))
        else:
            data = sys.stdin.buffer.readline()
            if not data:
                raise EOFError
        return data.decode("utf-8", "replace").strip()

    def _answer(self, line: str) -> None:
        self._messages.append({"role": "user", "content": line})
        answer = ""
        try:
            with closing(self._pieces()) as pieces:
                for text in pieces:
                    answer += text
                    common.write(text)
        except KeyboardInterrupt:
            if not self._interactive:
                raise
            print("\n(stopped)", file=sys.stderr)
        except ContextOverflowError:
            self._messages.pop()
            if not self._interactive:
                raise
            print("(the conversation no longer fits the context: /reset)", file=sys.stderr)
            return
        common.write("\n")
        self._messages.append({"role": "assistant", "content": answer})

    def _pieces(self) -> Generator[str, None, None]:
        """The answer to the messages so far."""
        stream = self._llama.create_chat_completion(self._messages, stream=True, **self._sampling)
        with closing(stream):
            for chunk in stream:
                choice = chunk["choices"][0]
                yield choice["delta"].get("content", "")
                if choice["finish_reason"] == "length":
                    print("\n(the context is full: /reset begins anew)", file=sys.stderr)
