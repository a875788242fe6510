"""``llamacpp chat``: a conversation in the terminal."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from llamacpp import bundled_model
from llamacpp.cli import common

if TYPE_CHECKING:
    from llamacpp.api import Llama

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
    from llamacpp.api import Llama

    common.sampling_params(args)  # refuse bad values before anything is loaded
    with Llama(
        args.model or bundled_model(),
        n_ctx=args.ctx,
        n_threads=args.threads,
        chat_format=args.chat_format,
        seed=args.seed,
    ) as llama:
        _ = llama.chat_format  # an unknown format is refused now
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
        self._sampling = {
            "temperature": args.temp,
            "top_k": args.top_k,
            "top_p": args.top_p,
            "min_p": args.min_p,
            "repeat_penalty": args.repeat_penalty,
        }

    def run(self) -> None:
        """Read lines until the end of input or /exit."""
        if sys.stdin.isatty():
            import readline  # noqa: F401  line editing and history in input()
        while True:
            try:
                line = self._read()
            except KeyboardInterrupt:
                print(file=sys.stderr)
                continue
            except EOFError:
                return
            if line == "/exit":
                return
            if line == "/help":
                print(HELP, file=sys.stderr)
            elif line == "/reset":
                self._messages = list(self._start)
                print("(a new conversation)", file=sys.stderr)
            elif line.startswith("/"):
                print(f"there is no command {line}; /help lists them", file=sys.stderr)
            elif line:
                self._answer(line)

    @staticmethod
    def _read() -> str:
        # The prompt goes to stderr, so that stdout holds the answers alone.
        if sys.stdin.isatty() and sys.stdout.isatty():
            return input("> ").strip()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def _answer(self, line: str) -> None:
        self._messages.append({"role": "user", "content": line})
        answer = ""
        stream = self._llama.create_chat_completion(self._messages, stream=True, **self._sampling)
        try:
            for chunk in stream:
                text = chunk["choices"][0]["delta"].get("content", "")
                answer += text
                sys.stdout.write(text)
                sys.stdout.flush()
        except KeyboardInterrupt:
            print("\n(stopped)", file=sys.stderr)
        finally:
            stream.close()
        print(flush=True)
        self._messages.append({"role": "assistant", "content": answer})
