"""Stop strings over a stream cut anywhere, against a search in the whole text."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacpp.engine.stop import StopMatcher
from llamacpp.errors import InvalidArgumentError

LETTERS = st.text(alphabet="abé", max_size=40)
STOPS = st.lists(st.text(alphabet="abé", min_size=1, max_size=5), max_size=4)


def whole(text: str, stops: list[str]) -> tuple[str, str | None]:
    for end in range(1, len(text) + 1):
        here = [stop for stop in stops if text[:end].endswith(stop)]
        if here:
            longest = max(here, key=len)
            return text[: end - len(longest)], longest
    return text, None


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=500, deadline=None)
@given(LETTERS, STOPS, st.lists(st.integers(0, 40), max_size=12))
def test_any_cutting_gives_the_text_before_the_first_stop(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    expected, matched = whole(text, stops)
    matcher = StopMatcher(stops)
    out = "".join(matcher.feed(piece) for piece in pieces(text, cuts)) + matcher.flush()
    assert (out, matcher.matched) == (expected, matched)
    assert matcher.stopped == (matched is not None)


@settings(max_examples=500, deadline=None)
@given(LETTERS, STOPS)
def test_exactly_what_may_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    emitted = ""
    for end in range(1, len(text) + 1):
        emitted += matcher.feed(text[end - 1])
        if matcher.stopped:
            break
        seen = text[:end]
        possible = (n for n in range(len(seen) + 1) if any(s.startswith(seen[n:]) for s in stops))
        assert emitted == seen[: next(possible, len(seen))]


def test_bytes_and_a_single_string_are_stop_strings_too() -> None:
    for stops in ("é", ["é".encode()], b"\xc3\xa9"):
        matcher = StopMatcher(stops)
        assert matcher.feed("caf") + matcher.feed("é!") == "caf"
        assert matcher.matched == "é"


def test_nothing_follows_a_stop() -> None:
    matcher = StopMatcher(["."])
    assert matcher.feed("one. two") == "one"
    assert matcher.feed("three") == matcher.flush() == ""


def test_without_stop_strings_text_passes_as_it_is() -> None:
    matcher = StopMatcher([])
    assert matcher.feed("a\n") == "a\n"
    assert not matcher.stopped


@pytest.mark.parametrize(
    ("stops", "message"),
    [
        ([""], "a stop string is ''; each must be a non-empty text"),
        ([b""], "a stop string is ''"),
        ([7], "a stop string is 7"),
        ([b"\xff"], r"the stop string b'\\xff' is not UTF-8"),
    ],
)
def test_what_is_no_stop_string_is_refused(stops: list, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        StopMatcher(stops)


def test_time_is_linear_in_the_text() -> None:
    # Each piece looks like the stop string's start: a rescan would cost 10^9 comparisons.
    matcher = StopMatcher(["a" * 20_000 + "b"])
    start = time.process_time()
    out = "".join(matcher.feed("a") for _ in range(50_000)) + matcher.flush()
    assert out == "a" * 50_000
    assert time.process_time() - start < 10
