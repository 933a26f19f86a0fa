"""Makes the tables and figures of the Atari pages from the kept data files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from atari_kept import Curve, Kept
from atari_settings import (
    COMPARED_GAMES,
    COMPARED_MARKS,
    COMPARED_TIMESTEPS,
    EARLIER_PRESETS,
    GAMES,
    MARKS,
    SEARCH,
    SEARCH_PANELS,
    WARM_START_MARKS,
)
from pgfast.runs.progress_log import read_progress

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MEAN_OF = 100  # games, the window of the means in progress.csv
SETTLED = 1_000_000  # steps; earlier, most means are small and their ratios mean little


def report(kept: Kept) -> None:
    """Regenerates tables and figures from the kept data files."""
    page = kept.directory / "breakout.md"
    tables = {
        "breakout": tabulate_games(kept, ["Breakout"]),
        "games": tabulate_games(kept, [game for game in GAMES if game != "Breakout"]),
        "compared": tabulate_compared(kept),
        "search": tabulate_search(kept, warm_start=False),
        "on": tabulate_search(kept, warm_start=True),
    }
    page.write_text(fill(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    draw_seeds("Breakout", kept.curves("Breakout"), kept.directory / "breakout-a2c.png")
    panels = {
        game: {f"seed {seed}": curve for seed, curve in kept.curves(game).items()}
        for game in GAMES
        if game != "Breakout"
    }
    draw_panels(panels, kept.directory / "atari-a2c.png", columns=3)
    panels = {
        game: {algorithm.upper(): cut(curve, COMPARED_TIMESTEPS) for algorithm, curve in kept.compared(game).items()}
        for game in COMPARED_GAMES
    }
    draw_panels(panels, kept.directory / "atari-algorithms.png", columns=2)
    settings = kept.search()
    panels = {
        title: cut_to_second_longest({name: settings[name] for name in names if name in settings})
        for title, names in SEARCH_PANELS.items()
    }
    panels["previous presets, seed 1"] = {
        name: read_progress(kept.directory / file) for name, file in EARLIER_PRESETS.items()
    }
    draw_panels(panels, kept.directory / "breakout-search.png", columns=2)


def fill(text: str, tables: Mapping[str, Iterator[str]]) -> str:
    """Replaces the text between <!-- NAME --> and <!-- /NAME --> of a page by the table of that name."""
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the page has no place for the table {name}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n" + "".join(f"{line}\n" for line in lines) + f"\n{end}{rest.split(end)[1]}"
    return text


def tabulate_games(kept: Kept, games: Sequence[str]) -> Iterator[str]:
    """The lines of a Markdown table: one row per run, of games that have the same targets."""
    targets = GAMES[games[0]].targets
    heads = ["game, seed", "steps", "first", *map(str, targets), "best", "last", "collapses", "lowest"]
    heads += ["stochastic", "deterministic"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    all_played = kept.games()
    for game in games:
        for seed, curve in kept.curves(game).items():
            means, steps, seconds = curve["return_mean"], curve["timesteps"], curve["wall_time"]
            full = np.flatnonzero(curve["episodes"] >= MEAN_OF)
            cells = [f"{game}, {seed}", f"{steps[-1] / 1e6:.2f} M", f"{means[full[0]]:.1f}" if full.size else "-"]
            for target in targets:
                hits = full[means[full] >= target]
                if not hits.size:
                    cells.append("-")
                elif seed in GAMES[game].untimed:
                    cells.append(f"{steps[hits[0]] / 1e6:.2f} M")
                else:
                    cells.append(f"{steps[hits[0]] / 1e6:.2f} M, {clock(seconds[hits[0]])}")
            best, last = (f"{means[full].max():.1f}", f"{means[-1]:.1f}") if full.size else ("-", "-")
            cells += [best, last, *describe_falls(means[full], steps[full])]
            played = [row for row in all_played if (row["game"], row["seed"]) == (game, str(seed))]
            cells += [return_of(played, policy) for policy in ("stochastic", "deterministic")]
            yield f"| {' | '.join(cells)} |"


def tabulate_compared(kept: Kept) -> Iterator[str]:
    """The lines of a Markdown table: one row per game and algorithm, with its means at the marks."""
    yield "| game, seed | algorithm | " + " | ".join(f"{mark / 1e6:g} M" for mark in COMPARED_MARKS) + " |"
    yield "|---" * (2 + len(COMPARED_MARKS)) + "|"
    for game in COMPARED_GAMES:
        for algorithm, curve in kept.compared(game).items():
            cells = means_at(curve, COMPARED_MARKS)
            yield f"| {game}, {GAMES[game].seeds[0]} | {algorithm.upper()} | {' | '.join(cells)} |"


def tabulate_search(kept: Kept, warm_start: bool) -> Iterator[str]:
    """The lines of a Markdown table: one row per trial of a kind, with its means at the marks."""
    marks = WARM_START_MARKS if warm_start else MARKS
    yield "| name | instead of the base's | " + " | ".join(f"{mark / 1e6:g} M" for mark in marks) + " |"
    yield "|---" * (2 + len(marks)) + "|"
    for name, curve in kept.search().items():
        if SEARCH[name].warm_start == warm_start:
            cells = means_at(curve, marks)
            yield f"| {name} | {f'`{SEARCH[name].flags}`' if SEARCH[name].flags else ''} | {' | '.join(cells)} |"


def means_at(curve: Curve, marks: Sequence[int]) -> list[str]:
    """Cells with the first mean at or after each number of steps; empty ones beyond the end of the curve."""
    means = [curve["return_mean"][curve["timesteps"] >= mark][:1] for mark in marks]
    return [f"{mean[0]:.1f}" if mean.size else "" for mean in means]


def describe_falls(means: np.ndarray, steps: np.ndarray) -> tuple[str, str]:
    """How often a mean fell below half of its best so far, and its smallest fraction of the best once settled.

    Both are "-" unless all means are positive.
    """
    if not means.size or means.min() <= 0.0:
        return "-", "-"
    parts = means / np.maximum.accumulate(means)
    collapsed, settled = parts < 0.5, parts[steps >= SETTLED]
    count = np.count_nonzero(collapsed[1:] & ~collapsed[:-1])
    return str(count), f"{settled.min():.2f}" if settled.size else "-"


def clock(seconds: float) -> str:
    """Formats a time in hours and minutes."""
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def return_of(played: Sequence[Mapping[str, str]], policy: str) -> str:
    """Mean and standard deviation of the raw returns of one kind of policy."""
    returns = np.array([float(row["score"]) for row in played if row["policy"] == policy])
    return f"{returns.mean():.1f} ± {returns.std():.1f}" if returns.size else "-"


def draw_seeds(game: str, curves: Mapping[int, Curve], path: Path) -> None:
    """Draws the curve of every seed over steps, and over time if the seed had the machine to itself."""
    figure = Figure(figsize=(10.0, 4.2), dpi=120, layout="constrained")
    by_steps, by_time = figure.subplots(1, 2, sharey=True)
    for color, (seed, curve) in zip(COLORS, curves.items(), strict=False):
        look = {"color": color, "linewidth": 1.1, "label": f"seed {seed}"}
        by_steps.plot(curve["timesteps"] / 1e6, curve["return_mean"], **look)
        if seed not in GAMES[game].untimed:
            by_time.plot(curve["wall_time"] / 60.0, curve["return_mean"], **look)
    style(by_steps, f"A2C on {game}: mean return of the last 100 games", "millions of steps")
    style(by_time, "the same over time", "minutes on two cores")
    by_steps.set_ylabel("return", fontsize=9)
    by_steps.legend(frameon=False, fontsize=9, loc="upper left")
    figure.savefig(path)


def draw_panels(panels: Mapping[str, Mapping[str, Curve]], path: Path, columns: int) -> None:
    """Draws one panel per title that has curves."""
    panels = {title: curves for title, curves in panels.items() if curves}
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(10.0, 6.4 / columns * rows), dpi=110, layout="constrained")
    figure.supylabel("mean return of the last 100 games", fontsize=9)
    for index, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for color, (name, curve) in zip(COLORS, curves.items(), strict=False):
            axes.plot(curve["timesteps"] / 1e6, curve["return_mean"], color=color, linewidth=1.1, label=name)
        style(axes, title, "millions of steps")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path)


def cut_to_second_longest(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Cuts curves at the end of the second longest."""
    ends = sorted(curve["timesteps"][-1] for curve in curves.values())
    end = ends[-2] if len(ends) > 1 else np.inf
    return {name: cut(curve, end) for name, curve in curves.items()}


def cut(curve: Curve, end: float) -> Curve:
    """The part of a curve up to a number of steps."""
    return {key: column[curve["timesteps"] <= end] for key, column in curve.items()}


def style(axes: Axes, title: str, x_label: str) -> None:
    """Applies the style that all panels share."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x_label, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#D9D9D9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
