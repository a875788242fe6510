"""Conversations: requests answered by a story that honours them, questions about it, small talk."""

from __future__ import annotations

import random
import zlib

from .grammar import TABLES, choose, expand, fill, read_groups
from .stories import Story, tell

TALK = read_groups(TABLES / "talk.txt")
REQUESTS = read_groups(TABLES / "requests.txt")
HELD_OUT_SHARE = 40  # one combination of plot, kind and name in this many is never trained on

Turn = tuple[str, str]
"""(role, text); the role is "system", "user", "assistant", or "" for plain text."""


def is_held_out(story: Story) -> bool:
    return zlib.crc32(story.key.encode()) % HELD_OUT_SHARE == 0


def new_story(rng: random.Random, held_out: bool) -> Story:
    """A story of the training or of the held-out combinations."""
    while is_held_out(story := tell(rng)) != held_out:
        pass
    return story


def _request(story: Story, rng: random.Random) -> str:
    """Words that ask for this story: everything that they fix is true of it."""
    if rng.random() < 0.12:
        return expand(rng.choice(REQUESTS["open_ask"]), story.values, rng)
    subjects = REQUESTS["subject"]
    if story.plot.flag in ("friend", "owner") and rng.random() < 0.15:
        subjects = REQUESTS["subject_friend"]
    subject = fill(
        rng.choice(subjects),
        dict(
            story.values,
            clause=rng.choice(story.plot.asks),
            theme=rng.choice(story.plot.themes),
        ),
    )
    values = dict(story.values, subject=subject)
    return _casually(expand(rng.choice(REQUESTS["ask"]), values, rng), rng)


def _casually(text: str, rng: random.Random) -> str:
    """Now and then as people type: no capital, no full stop."""
    if rng.random() < 0.12:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.12:
        text = text.rstrip(".")
    return text


def _question(story: Story, rng: random.Random) -> list[Turn]:
    """A question about the story and its right answer."""
    if rng.random() < 0.22:
        question, answer = rng.choice(REQUESTS["shorter"]), story.plot.summary
    elif story.plot.flag == "friend" and rng.random() < 0.25:
        question, answer = rng.choice(REQUESTS["question_friend"]).split(" => ")
    elif rng.random() < 0.4:
        question, answer = rng.choice(REQUESTS["question"]).split(" => ")
    else:
        question, answer = rng.choice(story.plot.questions)
    return [
        ("user", _casually(expand(question, story.values, rng), rng)),
        ("assistant", expand(answer, story.values, rng)),
    ]


def _talk(group: str, story: Story, rng: random.Random) -> list[Turn]:
    user, assistant = rng.choice(TALK[group]).split(" => ")
    values = story.values
    return [
        ("user", " ".join(fill(choose(user, rng), values).split())),
        ("assistant", expand(assistant, values, rng)),
    ]


def conversation(rng: random.Random, held_out: bool = False) -> list[Turn]:
    """A few turns round at least one story, or small talk alone."""
    story = new_story(rng, held_out)
    turns: list[Turn] = []
    if rng.random() < 0.1:
        turns.append(("system", rng.choice(REQUESTS["system"])))
    if rng.random() < 0.1:
        return turns + _small_talk(story, rng)
    if rng.random() < 0.15:
        turns += _talk(rng.choice(("greeting", "greeting", "who", "other")), story, rng)
    turns += [("user", _request(story, rng)), ("assistant", story.text)]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        turns += _question(story, rng)
    last = rng.random()
    if last < 0.15:
        turns += _talk("thanks", story, rng)
    elif last < 0.2:
        turns += _talk("bye", story, rng)
    elif last < 0.24:
        turns += _talk("other", story, rng)
    elif last < 0.34:
        other = new_story(rng, held_out)
        again = expand(rng.choice(REQUESTS["again"]), other.values, rng)
        if rng.random() < 0.5:
            again = _request(other, rng)
        turns += [("user", again), ("assistant", other.text)]
    return turns


def _small_talk(story: Story, rng: random.Random) -> list[Turn]:
    groups = [rng.choice(("greeting", "who", "other")) for _ in range(rng.randint(1, 3))]
    turns: list[Turn] = []
    for group in dict.fromkeys(groups):
        turns += _talk(group, story, rng)
    if rng.random() < 0.4:
        turns += _talk(rng.choice(("thanks", "bye")), story, rng)
    return turns


def document(rng: random.Random, held_out: bool = False) -> list[Turn]:
    """A plain story or a conversation."""
    if rng.random() < 0.42:
        return [("", new_story(rng, held_out).text)]
    return conversation(rng, held_out)


def documents(count: int, seed: int, held_out: bool = False) -> list[list[Turn]]:
    """The corpus: `count` documents, the same for the same seed."""
    rng = random.Random(seed)
    return [document(rng, held_out) for _ in range(count)]
