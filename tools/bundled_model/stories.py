"""One story: a cast, a place and things, led through the steps of a plot."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .grammar import TABLES, expand, read_groups, read_lists

LISTS = read_lists(TABLES / "lexicon.txt")
FRAMES = read_groups(TABLES / "frames.txt")
PRONOUNS = {"m": ("he", "him", "his", "himself"), "f": ("she", "her", "her", "herself")}
SIZE_ADJECTIVES = {"s": "adj_small", "b": "adj", "p": "adj"}
HOME_ADJECTIVES = ("small", "cozy", "snug", "little", "warm", "tidy", "quiet")


@dataclass
class Plot:
    """A plot's steps, each a list of wordings, and what can be asked about it."""

    name: str
    flag: str = ""
    themes: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)
    questions: list[tuple[str, str]] = field(default_factory=list)
    summary: str = ""
    steps: list[list[str]] = field(default_factory=list)


def read_plots() -> list[Plot]:
    """Every plot of the `plots_*.txt` tables."""
    plots: list[Plot] = []
    for path in sorted(TABLES.glob("plots_*.txt")):
        for raw in path.read_text(encoding="utf-8").split("\n# ")[1:]:
            lines = raw.strip().splitlines()
            if re.fullmatch(r"[a-z_]+", lines[0]):
                plots.append(_read_plot(lines))
    return plots


def _read_plot(lines: list[str]) -> Plot:
    plot = Plot(lines[0])
    for line in lines[1:]:
        key, _, rest = line.partition(" ")
        if key == "*":
            plot.steps.append([rest])
        elif key == "|":
            plot.steps[-1].append(rest)
        elif key == "flag:":
            plot.flag = rest
        elif key == "theme:":
            plot.themes.append(rest)
        elif key == "ask:":
            plot.asks.append(rest)
        elif key == "sum:":
            plot.summary = rest
        elif key == "qa:":
            question, answer = rest.split(" => ")
            plot.questions.append((question, answer))
        elif line.strip():
            raise ValueError(f"plot {plot.name}: cannot read the line {line!r}")
    return plot


PLOTS = read_plots()


@dataclass(frozen=True)
class Story:
    """A finished story and the facts that it was made from."""

    plot: Plot
    values: Mapping[str, str]
    text: str

    @property
    def key(self) -> str:
        """The combination that decides between training and held-out text."""
        return f"{self.plot.name}/{self.values['kind']}/{self.values['N']}"


def _fields(name: str, entry: list[str]) -> dict[str, str]:
    """{name}, {name2}, {name3}... for an entry's fields."""
    return {name + (str(i + 1) if i else ""): text for i, text in enumerate(entry)}


def _cast(rng: random.Random) -> dict[str, str]:
    """The hero, and a friend of another kind and the other gender, so that pronouns are clear."""
    kind, home, size, genders = rng.choice(LISTS["kind"])
    gender = rng.choice(genders)
    other = "f" if gender == "m" else "m"
    friends = [k for k in LISTS["kind"] if other in k[3] and k[0] != kind]
    friend_kind, friend_home, _, _ = rng.choice(friends)
    names = {"m": LISTS["male"], "f": LISTS["female"]}
    he, him, his, himself = PRONOUNS[gender]
    fhe, fhim, fhis, _ = PRONOUNS[other]
    adjective = rng.choice(LISTS["adj"])[0]
    return {
        "N": rng.choice(names[gender])[0],
        "F": rng.choice(names[other])[0],
        "kind": kind,
        "home": home,
        "fkind": friend_kind,
        "fhome": friend_home,
        "adj": adjective,
        "adjs": rng.choice([a for a in LISTS[SIZE_ADJECTIVES[size]] if a[0] != adjective])[0],
        "fadj": rng.choice([a for a in LISTS["adj"] if a[0] != adjective])[0],
        "homeadj": rng.choice(HOME_ADJECTIVES),
        "he": he,
        "him": him,
        "his": his,
        "himself": himself,
        "hers": "hers" if gender == "f" else "his",
        "fhe": fhe,
        "fhim": fhim,
        "fhis": fhis,
        "h": f"the {kind}",
    }


def _values(rng: random.Random) -> dict[str, str]:
    """Every slot's value, fixed for the whole story."""
    values = _cast(rng)
    place, where, spots = rng.choice(LISTS["place"])
    there = re.sub(r"\ban? ", "the ", where)
    values |= {"place": place, "in": where, "there": there}
    for i, spot in enumerate(rng.sample(spots.split("/"), 3)):
        values[f"s{i + 1}"] = spot
    values["obj"], values["o"] = rng.choice(LISTS["obj"])
    skip = {"kind", "place", "obj", "male", "female", "adj", "adj_small", "time"}
    taken = {values["kind"], values["fkind"]}
    for name, entries in LISTS.items():
        if name not in skip:
            free = [e for e in entries if not taken & set(e[0].split())]
            values |= _fields(name, rng.choice(free))
    values["time"] = rng.choice(LISTS["time"])[0]
    return values


def _opening(plot: Plot, values: Mapping[str, str], rng: random.Random) -> list[str]:
    """Who and where; about half the stories begin with "Once upon a time"."""
    once = [line for line in FRAMES["open"] if line.startswith("Once upon")]
    parts = [rng.choice(once if rng.random() < 0.3 else FRAMES["open"])]
    if rng.random() < 0.55:
        parts.append(rng.choice(FRAMES["trait"]))
    if plot.flag == "friend":
        parts.append(rng.choice(FRAMES["friend"]))
    return parts


def _closing(template: str, rng: random.Random) -> str:
    """Resolve `<close>`, `<close?>` (sometimes nothing), `<close_friend>` and the like."""

    def frame(match: re.Match[str]) -> str:
        if match.group(2) and rng.random() < 0.5:
            return ""
        return rng.choice(FRAMES[match.group(1)])

    return re.sub(r"<(\w+)(\??)>", frame, template)


def tell(rng: random.Random, plot: Plot | None = None) -> Story:
    """A new story of a random plot, or of the given one."""
    plot = plot or rng.choice(PLOTS)
    values = _values(rng)
    parts = _opening(plot, values, rng)
    for i, wordings in enumerate(plot.steps):
        step = rng.choice(wordings)
        if i == 0 and step.startswith("{Time}, ") and rng.random() < 0.25:
            weather = rng.choice(FRAMES["weather"])
            start = rng.choice(("One day", "One morning", "One afternoon"))
            step = f"{start}, {weather[0].lower()}{weather[1:]} {step.removeprefix('{Time}, ')}"
        parts.append(_closing(step, rng))
    if rng.random() < 0.12:
        parts.append(FRAMES["end"][0])
    return Story(plot, values, expand(" ".join(parts), values, rng))
