"""Stop strings in streamed text: found as soon as they are complete, nothing held back longer.

An Aho-Corasick automaton (Aho and Corasick, CACM 18(6), 1975) over the stop strings: each
character costs a constant, however the text is cut into pieces, and the depth of the automaton's
state is exactly how much of the text may still become a stop string.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from llamacpp.errors import InvalidArgumentError

__all__ = ["StopMatcher"]


class StopMatcher:
    """Watches one text for stop strings. `feed` it pieces, `flush` at the end.

    The text ends before the stop string that is complete first; of several complete at the same
    character, before the longest. `matched` is that string, None as long as there is none.

    Raises InvalidArgumentError for a stop string that is empty, no text, or not UTF-8.
    """

    def __init__(self, stop_strings: Iterable[str | bytes]) -> None:
        self.matched: str | None = None
        self._held = ""
        self._state = 0
        self._next: list[dict[str, int]] = [{}]
        self._depth = [0]
        self._found: list[str | None] = [None]
        if isinstance(stop_strings, (str, bytes)):
            stop_strings = [stop_strings]
        for stop in stop_strings:
            self._add(_text(stop))
        self._fail = [0] * len(self._next)
        self._link()

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found; `feed` then gives no more text."""
        return self.matched is not None

    def feed(self, piece: str) -> str:
        """Take the next piece and return the text that is now certain to be no stop string."""
        if self.matched is not None:
            return ""
        if len(self._next) == 1:
            return piece
        text = self._held + piece
        state = self._state
        for end, char in enumerate(piece, start=len(self._held) + 1):
            while state and char not in self._next[state]:
                state = self._fail[state]
            state = self._next[state].get(char, 0)
            found = self._found[state]
            if found is not None:
                self.matched, self._held = found, ""
                return text[: end - len(found)]
        self._state = state
        safe = len(text) - self._depth[state]
        self._held = text[safe:]
        return text[:safe]

    def flush(self) -> str:
        """Return what was held back, for the text is over and it became no stop string."""
        text, self._held, self._state = self._held, "", 0
        return text

    def _add(self, stop: str) -> None:
        state = 0
        for char in stop:
            if char not in self._next[state]:
                self._next[state][char] = len(self._next)
                self._next.append({})
                self._depth.append(self._depth[state] + 1)
                self._found.append(None)
            state = self._next[state][char]
        self._found[state] = stop

    def _link(self) -> None:
        """Point each state to that of its longest proper suffix, in order of depth."""
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            if self._found[state] is None:
                self._found[state] = self._found[self._fail[state]]
            for char, child in self._next[state].items():
                fall = self._fail[state]
                while fall and char not in self._next[fall]:
                    fall = self._fail[fall]
                self._fail[child] = self._next[fall].get(char, 0)
                queue.append(child)


def _text(stop: str | bytes) -> str:
    if isinstance(stop, bytes):
        try:
            stop = stop.decode()
        except UnicodeDecodeError:
            raise InvalidArgumentError(f"the stop string {stop!r} is not UTF-8") from None
    if not isinstance(stop, str) or not stop:
        raise InvalidArgumentError(f"a stop string is {stop!r}; each must be a non-empty text")
    return stop
