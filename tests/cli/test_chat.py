"""`llamacpp chat`: history, commands, end of input, Ctrl-C, on a pipe and on a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from llamacpp import Llama

ROOT = Path(__file__).resolve().parent.parent.parent


def answers(path: Path, *conversations: list[str], system: str | None = None) -> bytes:
    """What the library answers, greedily, to the messages of some conversations."""
    said = ""
    with Llama(path) as llama:
        for conversation in conversations:
            messages = [{"role": "system", "content": system}] if system else []
            for text in conversation:
                messages.append({"role": "user", "content": text})
                result = llama.create_chat_completion(messages, temperature=0)
                messages.append(dict(result["choices"][0]["message"]))
                said += result["choices"][0]["message"]["content"] + "\n"
    return said.encode()


def test_the_history_is_part_of_the_conversation(run, talker) -> None:
    done = run("chat", "-m", talker, "--temp", 0, "-q", text=b"the other\nhere\n\n  \n")
    assert done.returncode == 0
    assert done.stdout == answers(talker, ["the other", "here"])
    assert done.stdout != answers(talker, ["the other"], ["here"])


def test_reset_forgets_it(run, talker) -> None:
    done = run("chat", "-m", talker, "--temp", 0, "-q", text=b"the other\n/reset\nhere\n/exit\nx\n")
    assert done.stdout == answers(talker, ["the other"], ["here"])
    assert done.stderr == b"(a new conversation)\n"


def test_the_system_message_stays(run, talker) -> None:
    done = run(
        "chat", "-m", talker, "--temp", 0, "-q", "-s", "rest", text=b"the other\n/reset\nhere"
    )
    assert done.stdout == answers(talker, ["the other"], ["here"], system="rest")


def test_commands_write_to_stderr(run, talker) -> None:
    done = run("chat", "-m", talker, text=b"/help\n/what\n/exit\n")
    assert (done.returncode, done.stdout) == (0, b"")
    error = done.stderr.decode()
    assert "type a message, or /help" in error
    assert "/reset  forget the conversation" in error
    assert "there is no command /what; /help lists them" in error


def test_bytes_that_are_no_text_do_not_hurt(run, talker) -> None:
    done = run("chat", "-m", talker, "--temp", 0, "-q", text=b"caf\xe9 \xff\n")
    assert done.returncode == 0
    assert done.stdout == answers(talker, ["caf\ufffd \ufffd"])


def test_a_seed_repeats_the_conversation(run, talker) -> None:
    one, again, other = (
        run("chat", "-m", talker, "-q", "--temp", 1.5, "--seed", s, text=b"the\nother\n").stdout
        for s in (1, 1, 2)
    )
    assert one == again != other


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (["--chat-format", "klingon"], b"", "there is no chat format 'klingon'"),
        (["--temp", "-3"], b"", "temperature is -3.0"),
        (["-c", "20"], b"the other " * 20, "does not fit into a context of 20"),
        (["--chat-format", "{{ raise_exception('no') }}"], b"hello\n", "no"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(run, talker, arguments, text, message) -> None:
    done = run("chat", "-m", talker, "-q", *arguments, text=text)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


class Terminal:
    """A pseudo-terminal with a process in it."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.seen = b""

    def type(self, keys: bytes) -> None:
        self.seen = b""
        os.write(self._master, keys)

    def clear_line(self) -> None:
        """Press Ctrl-C in a line until there is a new prompt.

        An interrupt that comes just as input() begins to wait is seen with the next key only.
        """
        for _ in range(30):
            self.type(b"unfinished\x03")
            with suppress(AssertionError):
                self.wait_for(b"> ", seconds=1.0)
                return
        raise AssertionError("Ctrl-C at the prompt gave no new prompt")

    def wait_for(self, text: bytes, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come; seen so far: {self.seen!r}"
            self.seen += os.read(self._master, 4096)
        self.seen = self.seen.partition(text)[2]  # what came later is for the next to find


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    # The leader of a new session gets the first terminal that it opens: Ctrl-C then reaches it.
    shell = 'tty=$1; shift; exec "$@" <"$tty" >"$tty" 2>&1'
    command = [sys.executable, "-m", "llamacpp", *arguments]
    process = subprocess.Popen(
        ["sh", "-c", shell, "sh", os.ttyname(slave), *command], cwd=ROOT, start_new_session=True
    )
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_ctrl_c_stops_the_answer_and_not_the_program(rambler) -> None:
    # With this format the prompt is the message, from which the model goes on without an end.
    with terminal(
        "chat", "-m", str(rambler.path), "-c", "200000", "--temp", "0",
        "--chat-format", "{{ messages[-1].content }}",
    ) as screen:  # fmt: skip
        screen.wait_for(b"> ")
        screen.type(b"the other\r")
        screen.wait_for(rambler.words)
        screen.type(b"\x03")
        screen.wait_for(b"(stopped)")
        screen.wait_for(b"> ")
        screen.clear_line()
        screen.type(b"/help\r")
        screen.wait_for(b"/exit   leave")
        screen.type(b"the other\r")
        screen.wait_for(rambler.words)
        screen.type(b"\x03")
        screen.wait_for(b"(stopped)")
        screen.wait_for(b"> ")
        screen.type(b"/exit\r")
        assert screen.process.wait(30) == 0


def test_ctrl_d_leaves(talker: Path) -> None:
    with terminal("chat", "-m", str(talker)) as screen:
        screen.wait_for(b"> ")
        screen.type(b"\x04")
        assert screen.process.wait(30) == 0


def test_a_full_context_is_told_and_can_be_left_behind(talker: Path) -> None:
    with terminal("chat", "-m", str(talker), "-c", "64", "--temp", "0") as screen:
        screen.wait_for(b"> ")
        screen.type(b"the other the other the other the other the other the other the other\r")
        screen.wait_for(b"> ")
        screen.type(b"here here here here here here here here here here here here here here\r")
        screen.wait_for(b"the conversation no longer fits the context: /reset")
        screen.type(b"/reset\r")
        screen.wait_for(b"(a new conversation)")
        screen.wait_for(b"> ")
        screen.type(b"/exit\r")
        assert screen.process.wait(30) == 0
