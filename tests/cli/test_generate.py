"""`llamacpp generate`: exact text, where it goes, errors, interruption."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Type

from llamacpp import Llama, Model, SamplingParams
from llamacpp._native import active_level, available_levels, set_level
from llamacpp.cli import main
from tests.random_models import write_random_model

ROOT = Path(__file__).resolve().parent.parent.parent
LEVELS = available_levels()
GREEDY = SamplingParams(temperature=0.0)
GIVEN = ("-n", 8, "--temp", 0, "-q")


def expected(data_dir: Path) -> bytes:
    return (data_dir / "stories260K.expected.txt").read_bytes()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
def test_the_golden_text_at_every_level(run, data_dir, stories, level, threads) -> None:
    done = run(
        "generate", "-m", stories, "-p", "", "-n", 256, "--temp", 0, "-q", "-t", threads,
        LLAMACPP_ISA=level,
    )  # fmt: skip
    assert done.stdout == expected(data_dir)
    assert (done.stderr, done.returncode) == (b"", 0)


@pytest.mark.parametrize("kind", ["f16", "f32", "q8_0"])
def test_keys_and_values_of_any_type(run, kind) -> None:
    done = run("generate", "-p", "Once upon a time", "--cache-type", kind, *GIVEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"Once upon a time")
    assert len(done.stdout) > 30


def test_heads_that_q8_0_cannot_hold_are_refused(run, stories) -> None:
    done = run("generate", "-m", stories, "-p", "Once", "--cache-type", "q8_0", *GIVEN)
    assert done.returncode == 2
    assert b"needs heads of a multiple of 32" in done.stderr
    assert b"use f16" in done.stderr


@pytest.fixture
def forced(request: pytest.FixtureRequest) -> Iterator[None]:
    before = active_level()
    set_level(request.param)
    yield
    set_level(before)


@pytest.mark.parametrize("forced", LEVELS, indirect=True)
@pytest.mark.usefixtures("forced")
def test_the_golden_text_fed_back_in_pieces_of_any_size(data_dir: Path, stories: Path) -> None:
    with Model.open(stories) as model:
        assert model.tokenizer
        story = expected(data_dir).decode()[:-1]
        bos = [model.tokenizer.bos_id]
        whole = list(model.session().generate(bos, max_tokens=256, params=GREEDY))
        assert model.tokenizer.decode(whole) == story
        for size in (1, 2, 3, 5, 8, 31, 64, 200, 255):
            session = model.session()
            fed = [*bos, *whole[:200]]
            for start in range(0, len(fed), size):
                rows = session.eval(fed[start : start + size], "all")
                end = start + len(rows)
                assert rows.argmax(axis=1).tolist() == whole[start:end]
            assert list(session.generate(max_tokens=56, params=GREEDY)) == whole[200:]


@pytest.mark.parametrize("cut", [1, 4, 16, 17, 100, 333])
def test_the_golden_text_continues_from_any_of_its_words(here, data_dir, stories, cut) -> None:
    story = expected(data_dir)
    cut = story.index(b" ", cut)  # a prompt that ends within a word is read as other tokens
    prompt = story[:cut].decode()
    done = here("generate", "-m", stories, "-p", prompt, "-n", 20, "--temp", 0, "-q")
    assert done.stdout.startswith(story[: cut + 20])


def test_the_prompt_is_echoed_byte_for_byte(run, here, stories, tmp_path) -> None:
    file = tmp_path / "prompt.txt"
    for prompt in (b"Once upon\n", b"two\r\nlines", b"caf\xc3\xa9 \xff\xfe bytes", b"  spaces "):
        file.write_bytes(prompt)
        from_file = here("generate", "-m", stories, "-f", file, *GIVEN)
        from_stdin = run("generate", "-m", stories, "-", *GIVEN, text=prompt)
        given = here("generate", "-m", stories, "-p", os.fsdecode(prompt), *GIVEN)
        assert from_file.stdout.startswith(prompt)
        assert len(from_file.stdout) > len(prompt) + 1
        assert from_file.stdout == from_stdin.stdout == given.stdout
        bare = here("generate", "-m", stories, "-f", file, "--no-echo", *GIVEN)
        assert prompt + bare.stdout == from_file.stdout


def test_text_goes_to_stdout_and_timings_to_stderr(here, talker) -> None:
    done = here("generate", "-m", talker, "-p", "the other", "-n", 5, "--seed", 1)
    assert done.stdout.startswith(b"the other")
    assert done.stdout.endswith(b"\n")
    numbers = r"[0-9.]+"
    assert re.fullmatch(
        f"load {numbers} s \\| prompt 3 tokens, {numbers} tok/s"
        f" \\| decode 5 tokens, {numbers} tok/s\n",
        done.stderr.decode(),
    )
    none = here("generate", "-m", talker, "-p", "the other", "-n", 0)
    assert none.stdout == b"the other\n"


def test_command_and_library_say_the_same(talker, capfdbinary) -> None:
    words = "generate -n 30 --temp 1.2 --top-k 50 --top-p 0.9 --min-p 0.01 --repeat-penalty 1.3"
    for seed in (1, 2):
        rest = ["-p", "the other", "--seed", str(seed), "-m", str(talker)]
        assert main([*words.split(), *rest]) == 0
        with Llama(talker) as llama:
            said = llama(
                "the other", max_tokens=30, echo=True, temperature=1.2, top_k=50, top_p=0.9,
                min_p=0.01, repeat_penalty=1.3, seed=seed,
            )  # fmt: skip
        want = said["choices"][0]["text"] + "\n"
        assert capfdbinary.readouterr().out == want.encode()


def test_the_same_seed_gives_the_same_text(here, talker) -> None:
    arguments = ("generate", "-m", talker, "-p", "the", "-n", 20, "-q", "--temp", 1.5)
    one, again, other = (here(*arguments, "--seed", s).stdout for s in (1, 1, 2))
    assert one == again != other
    assert here(*arguments).stdout != here(*arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "x", "--temp", "-1"], "temperature is -1.0"),
        (["-p", "x", "--temp", "hot"], "argument --temp: invalid float value: 'hot'"),
        (["-p", "x", "--top-p", "2"], "top_p is 2.0"),
        (["-p", "x", "--seed", "-1"], "seed is -1"),
        (["-p", "x", "-n", "-2"], "-n must be -1 or more, not -2"),
        (["-p", "x", "-t", "0"], "0"),
        (["-p", "x", "-c", "0"], "n_ctx must be from 1 to 2147483647, not 0"),
        (["-p", "x", "-c", "99999999999"], "n_ctx must be from 1 to 2147483647"),
        (["-p", "x", "-t", "100000"], "n_threads must be"),
        (["-p", "x", "-f", "y"], "not allowed with argument -p"),
        (["-f", "/absent/prompt"], "cannot read /absent/prompt: No such file or directory"),
        ([], "give a prompt: -p TEXT, -f FILE, or - for standard input"),
        (["-p", "x", "--speed"], "unrecognized arguments: --speed (see llamacpp"),
        (["-p", "the " * 300], "does not fit into a context of 256"),
        (["-p", "x", "-c", "2000000000"], "ask for a smaller n_ctx"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(here, talker, arguments, message) -> None:
    done = here("generate", "-m", talker, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    error = done.stderr.decode()
    assert message in error
    assert error.startswith("llamacpp")
    assert error.count("\n") == 1


def test_bad_files_are_one_line_and_exit_code_2(here, tmp_path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"junk" * 100)
    silent = write_random_model(tmp_path / "silent.gguf", Type.F32, n_layer=1)
    for path, message in (
        (tmp_path / "absent.gguf", "No such file"),
        (junk, "junk.gguf"),
        (tmp_path, "directory"),
        (silent, "silent.gguf has no tokenizer: it works on token ids"),
    ):
        done = here("generate", "-m", path, "-p", "x")
        assert (done.returncode, done.stdout) == (2, b"")
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def test_no_command_and_unknown_commands_are_bad_usage(here) -> None:
    for arguments in ([], ["sing"]):
        done = here(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def endless(rambler) -> list[str]:
    """A call that would write some hundred thousand tokens."""
    words = ["-p", "the other", "--temp", "0", "-n", "-1", "-c", "200000"]
    return [sys.executable, "-m", "llamacpp", "generate", "-m", str(rambler.path), *words]


def test_ctrl_c_ends_with_130(rambler) -> None:
    with subprocess.Popen(
        endless(rambler), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(40).startswith(b"the other")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130


def test_ctrl_c_leaves_timings_and_no_traceback(rambler) -> None:
    with subprocess.Popen(
        endless(rambler), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout
        process.stdout.read(40)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert re.fullmatch(rb"load .* tok/s\n\n", error)


def test_a_reader_that_leaves_is_no_error(rambler) -> None:
    shell = 'set -o pipefail; "$@" -q | head -c 10'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *endless(rambler)],
        capture_output=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith(b"the other")
    assert (len(done.stdout), done.stderr, done.returncode) == (10, b"", 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_message(rambler) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*endless(rambler), "-q"], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [("-p the -n 2 -q", ">&-"), ("-p the -n 2", "2>&-"), ("-q -", "<&-")],
)
def test_closed_streams_do_no_harm(talker: Path, arguments: str, closed: str) -> None:
    command = [
        sys.executable,
        "-m",
        "llamacpp",
        "generate",
        "-m",
        str(talker),
        *arguments.split(),
    ]
    done = subprocess.run(
        ["bash", "-c", f'"$@" {closed}', "bash", *command],
        capture_output=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
