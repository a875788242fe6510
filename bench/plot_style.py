"""How plots look: figures with a title, panels without clutter, bars, lines, and limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.analysis import Spread

__all__ = ["MAX_COLUMNS", "Axes", "bars", "colours", "figure", "lines", "number"]

# Told apart by every kind of colour vision (Okabe and Ito); the baseline comes first.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY, PALE = "#1f1f1f", "#5a5a5a", "#e3e3e3"
MAX_COLUMNS, MAX_INCHES = 3, 15
HEAD = 1.0  # inches for title and legend

Axes = Any  # matplotlib's, which mypy does not look into


def colours(engines: Sequence[str]) -> dict[str, str]:
    """A colour for each engine."""
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(engines)}


def number(value: float) -> str:
    """A number as short as it can be without hiding differences that matter."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def figure(
    title: str,
    subtitle: str,
    engines: dict[str, str],
    panels: int,
    size: tuple[float, float],
    columns: int = MAX_COLUMNS,
) -> tuple[Figure, list[Axes]]:
    """An empty grid of panels.

    Args:
        title: what is shown.
        subtitle: of which models, on which machine.
        engines: colours by engine, for the legend.
        panels: how many.
        size: of one, in inches.
        columns: of panels, at most.
    """
    columns = min(panels, columns, max(1, int(MAX_INCHES // size[0])))
    rows = -(-panels // columns)
    width, height = max(size[0] * columns, 7.4), size[1] * rows + HEAD
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    made.get_layout_engine().set(rect=(0, 0, 1, 1 - HEAD / height), wspace=0.05, hspace=0.08)
    left = 0.14 / width
    made.text(left, 1 - 0.14 / height, title, va="top", size=13, weight="bold", color=INK)
    made.text(left, 1 - 0.42 / height, subtitle, va="top", size=9.5, color=GREY)
    made.legend(
        handles=[Patch(color=colour, label=name) for name, colour in engines.items()],
        loc="upper left", bbox_to_anchor=(left, 1 - 0.62 / height), ncols=len(engines),
        frameon=False, fontsize=9.5, handlelength=1.1, columnspacing=1.5, borderpad=0,
        borderaxespad=0, labelcolor=INK,
    )  # fmt: skip
    axes = [made.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for panel in axes:
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.spines["bottom"].set_color(GREY)
        panel.tick_params(colors=INK, labelsize=9, length=0)
        panel.grid(axis="y", color=PALE, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.yaxis.set_major_locator(MaxNLocator(6))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    return made, axes


def _title(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, weight="bold", color=INK, pad=20)
    axes.text(0, 1.02, unit, transform=axes.transAxes, fontsize=9, color=GREY, va="bottom")


def bars(
    axes: Axes,
    title: str,
    unit: str,
    groups: Sequence[str],
    values: dict[str, list[Spread | str | None]],
    colour: dict[str, str],
    limits: Sequence[tuple[float, str] | None],
    inches: float,
) -> None:
    """Bars side by side in groups; a value that is a word is written in place of a bar.

    Args:
        axes: the panel.
        title: of the panel.
        unit: of the values.
        groups: names of the groups.
        values: for each engine one per group.
        colour: by engine.
        limits: of each group, with what to write there: a line over its bars.
        inches: how wide the panel is.
    """
    _title(axes, title, unit)
    width = 0.8 / max(len(values), 1)
    found = [value.high for row in values.values() for value in row if isinstance(value, Spread)]
    found += [bound[0] for bound in limits if bound is not None]
    top = 1.14 * max(found, default=1.0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.set_ylim(0, top)
    axes.set_xticks(range(len(groups)), groups)
    upright = (inches - 0.7) / len(groups) * width < 0.32
    for i, (name, row) in enumerate(values.items()):
        for group, value in enumerate(row):
            x = group + (i + 0.5) * width - 0.4
            if isinstance(value, str):
                axes.text(x, 0, f" {value}", rotation=90, ha="center", va="bottom", fontsize=8,
                          color=GREY)  # fmt: skip
            elif value is not None:
                _bar(axes, x, width * 0.92, value, colour[name], upright)
    for group, bound in enumerate(limits):
        if bound is not None:
            level, text = bound
            axes.hlines(level, group - 0.43, group + 0.43, color=INK, linewidth=1.3, linestyle="--")
            axes.annotate(
                text, (group, level), (0, 3), textcoords="offset points", ha="center",
                va="bottom", fontsize=8, color=INK,
            )  # fmt: skip


def _bar(axes: Axes, x: float, width: float, value: Spread, colour: str, upright: bool) -> None:
    """One bar with its range and its value: in it, or over it where it is too low for that."""
    axes.bar(x, value.median, width, color=colour)
    if value.high > value.low:
        error = [[value.median - value.low], [value.high - value.median]]
        axes.errorbar(x, value.median, error, ecolor=INK, elinewidth=0.8, capsize=1.5)
    inside = value.low > axes.get_ylim()[1] * (0.25 if upright else 0.15)
    axes.annotate(
        number(value.median), (x, value.low if inside else value.high), (0, -3 if inside else 2),
        textcoords="offset points", ha="center", va="top" if inside else "bottom", fontsize=8,
        color=_on(colour) if inside else INK, rotation=90 if upright else 0,
    )  # fmt: skip


def _on(colour: str) -> str:
    """What is legible on a colour: white or ink, by its relative luminance."""
    red, green, blue = ((int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5))
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.2 else INK


def lines(
    axes: Axes,
    title: str,
    axis: str,
    xs: Sequence[int],
    values: dict[str, list[Spread | None]],
    colour: dict[str, str],
    limits: Sequence[tuple[float, str] | None],
) -> None:
    """A line per engine, a band from its smallest to its largest value, and the limit above.

    Args:
        axes: the panel.
        title: of the panel; the unit is tok/s.
        axis: what x is.
        xs: ascending.
        values: for each engine one per x.
        colour: by engine.
        limits: for each x, with its meaning; that of the last one is written.
    """
    _title(axes, title, "tok/s")
    for i, (name, row) in enumerate(values.items()):
        known = [(x, value) for x, value in zip(xs, row, strict=True) if value is not None]
        if known:
            at = [x for x, _ in known]
            low, high = [v.low for _, v in known], [v.high for _, v in known]
            axes.fill_between(at, low, high, color=colour[name], alpha=0.18, linewidth=0)
            axes.plot(
                at, [v.median for _, v in known], color=colour[name], linewidth=1.8,
                marker=MARKERS[i % len(MARKERS)], markersize=5, markeredgecolor="white",
                markeredgewidth=0.7,
            )  # fmt: skip
    bound = [(x, value) for x, value in zip(xs, limits, strict=True) if value is not None]
    if bound:
        axes.plot([x for x, _ in bound], [v for _, (v, _) in bound], color=INK, linewidth=1.3,
                  linestyle="--")  # fmt: skip
        x, (value, text) = bound[-1]
        axes.annotate(text, (x, value), (0, 4), textcoords="offset points", ha="right",
                      va="bottom", fontsize=8, color=INK)  # fmt: skip
    top = max([axes.get_ylim()[1], *(value * 1.14 for _, (value, _) in bound)])
    axes.set_ylim(0, top)
    axes.set_xticks(xs, [f"{x:,}" for x in xs])
    axes.minorticks_off()
    axes.set_xlabel(axis, fontsize=9, color=GREY)
