"""Trains A2C on Atari games, lets the trained policies play, and writes the tables and pictures of these pages.

python docs/results/atari.py train GAME [--seeds N ...]    the preset, as the pages report it
python docs/results/atari.py search [NAME ...]             the settings that were compared on Breakout
python docs/results/atari.py report                        tables and pictures, from the files kept here

The first two resume a run that is in --runs already, and add to the files beside this script what is there of it, also
after Ctrl-C. They need the extras `all`, and 10 million steps take about an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import pgfast
from pgfast.training.progress_log import read_progress

HERE = Path(__file__).parent
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
Curve = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Game:
    """A game, as the pages report it."""

    timesteps: int
    seeds: tuple[int, ...]
    targets: tuple[int, ...] = ()  # means of the last 100 games, whose steps and times are told


GAMES = {
    "Breakout": Game(10_000_000, (2, 3, 4), (100, 200, 300, 400)),
    "Pong": Game(5_000_000, (1,)),
    "BeamRider": Game(2_000_000, (1,)),
    "Enduro": Game(2_000_000, (1,)),
    "Qbert": Game(2_000_000, (1,)),
    "Seaquest": Game(2_000_000, (1,)),
    "SpaceInvaders": Game(2_000_000, (1,)),
}


@dataclass(frozen=True)
class Trial:
    """A setting that was compared with others on Breakout."""

    flags: str = ""  # instead of SEARCH_BASE
    goes_on: bool = False  # from the model of START after START_AT steps, with a new optimizer

    @property
    def seed(self) -> int:
        """None of those that are reported."""
        return 201 if self.goes_on else 101

    @property
    def timesteps(self) -> int:
        """How long it takes to see."""
        return 600_000 if self.goes_on else 2_000_000


START, START_AT = "rate-1.4e-3-lambda-0.9", 2_000_000
# All that is compared by name, so that another preset changes nothing here.
SEARCH_BASE = (
    "--network origin_cnn --num-envs 16 --n-steps 20 --gae-lambda 0.95 --optimizer adam --learning-rate 1e-3 "
    "--learning-rate-schedule constant --max-grad-norm 0.5 --value-coef 0.5 --entropy-coef 0.01"
)
SEARCH = {
    "base": Trial(),
    "steps-10": Trial("--n-steps 10"),
    "envs-8": Trial("--num-envs 8"),
    "envs-8-steps-40": Trial("--num-envs 8 --n-steps 40"),
    "rate-1.4e-3": Trial("--learning-rate 1.4e-3"),
    "rate-2e-3": Trial("--learning-rate 2e-3"),
    "rate-2e-3-normalized": Trial("--learning-rate 2e-3 --normalize-advantages"),
    "rate-1.4e-3-lambda-0.8": Trial("--learning-rate 1.4e-3 --gae-lambda 0.8"),
    "rate-1.4e-3-lambda-0.9": Trial("--learning-rate 1.4e-3 --gae-lambda 0.9"),
    "rate-1.4e-3-lambda-1": Trial("--learning-rate 1.4e-3 --gae-lambda 1"),
    "rate-1.4e-3-clip-0.1": Trial("--learning-rate 1.4e-3 --max-grad-norm 0.1"),
    "rate-1.4e-3-value-0.25": Trial("--learning-rate 1.4e-3 --value-coef 0.25"),
    "rmsprop": Trial("--optimizer rmsprop"),
    "envs-8-rate-2e-3": Trial("--num-envs 8 --learning-rate 2e-3"),
    "envs-8-entropy-0.005": Trial("--num-envs 8 --entropy-coef 0.005"),
    "envs-8-rate-2e-3-entropy-0.005": Trial("--num-envs 8 --learning-rate 2e-3 --entropy-coef 0.005"),
    "envs-8-rate-2e-3-nature": Trial("--num-envs 8 --learning-rate 2e-3 --network nature_cnn"),
    "on-7e-4": Trial("--gae-lambda 0.9 --learning-rate 7e-4", goes_on=True),
    "on-1e-3": Trial("--gae-lambda 0.9 --learning-rate 1e-3", goes_on=True),
    "on-1.4e-3": Trial("--gae-lambda 0.9 --learning-rate 1.4e-3", goes_on=True),
    "on-1.4e-3-envs-32": Trial("--gae-lambda 0.9 --learning-rate 1.4e-3 --num-envs 32 --n-steps 10", goes_on=True),
}
SEARCH_PANELS = {
    "shape of the batch": ("base", "steps-10", "envs-8", "envs-8-steps-40"),
    "learning rate": ("base", "rate-1.4e-3", "rate-2e-3", "envs-8", "envs-8-rate-2e-3"),
    "optimizer": ("base", "rate-1.4e-3", "rmsprop"),
    "GAE's lambda": ("rate-1.4e-3", "rate-1.4e-3-lambda-0.8", "rate-1.4e-3-lambda-0.9", "rate-1.4e-3-lambda-1"),
    "normalized advantages": ("rate-2e-3", "rate-2e-3-normalized"),
    "loss and clipping": ("rate-1.4e-3", "rate-1.4e-3-clip-0.1", "rate-1.4e-3-value-0.25"),
    "entropy": ("envs-8", "envs-8-entropy-0.005", "envs-8-rate-2e-3-entropy-0.005"),
    "network": ("envs-8-rate-2e-3", "envs-8-rate-2e-3-nature"),
    f"after 2 million steps of {START}": ("on-7e-4", "on-1e-3", "on-1.4e-3", "on-1.4e-3-envs-32"),
}
# What was the preset before, lambda 0.95 in both, with seed 1.
BEFORE = {"rate 1e-3, constant": "breakout-before-1e-3.csv", "rate 2e-3, falling to 0": "breakout-before-2e-3.csv"}
# Steps at which trials are compared.
MARKS = (250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000)
MARKS_ON = (100_000, 200_000, 300_000, 400_000, 500_000, 600_000)

MEAN_OF = 100  # games in the means of progress.csv


class Kept:
    """The files that the pages are made from, in one directory."""

    FIELDS = ("game", "seed", "timesteps", "policy", "score", "length")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._games, self._search = directory / "atari-games.csv", directory / "breakout-search.csv"

    def curves(self, game: str) -> dict[int, Curve]:
        """``progress.csv`` of what there is of a game, by seed."""
        paths = {seed: self._curve(game, seed) for seed in GAMES[game].seeds}
        return {seed: read_progress(path) for seed, path in paths.items() if path.exists()}

    def keep_curve(self, game: str, seed: int, run_dir: Path) -> None:
        """A run as it stands."""
        shutil.copyfile(run_dir / "progress.csv", self._curve(game, seed))

    def _curve(self, game: str, seed: int) -> Path:
        return self.directory / f"{game.lower()}-a2c-seed{seed}.csv"

    def games(self) -> list[dict[str, str]]:
        """The games that trained policies have played, one a row."""
        if not self._games.exists():
            return []
        with self._games.open(newline="") as file:
            return list(csv.DictReader(file))

    def keep_games(self, game: str, seed: int, run_dir: Path) -> None:
        """Plays 30 games of either kind with the model of a run; they replace those of an earlier one."""
        rows = [row for row in self.games() if (row["game"], row["seed"]) != (game, str(seed))]
        agent = pgfast.load(run_dir)
        for policy in ("stochastic", "deterministic"):
            result = agent.evaluate(30, deterministic=policy == "deterministic")
            for score, length in zip(result.returns, result.lengths, strict=True):
                values = (game, str(seed), str(agent.timesteps), policy, f"{score:g}", str(length))
                rows.append(dict(zip(self.FIELDS, values, strict=True)))
        with self._games.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.FIELDS)
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: (row["game"], int(row["seed"]))))

    def search(self) -> dict[str, Curve]:
        """Steps and means of the settings compared, by name."""
        if not self._search.exists():
            return {}
        with self._search.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = ("timesteps", "return_mean")
        return {
            name: {column: np.array([float(row[column]) for row in rows if row["name"] == name]) for column in columns}
            for name in SEARCH
            if any(row["name"] == name for row in rows)
        }

    def keep_search(self, runs: Path) -> None:
        """Every second row of the runs that are there."""
        old = self.search()
        with self._search.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("name", "timesteps", "return_mean"))
            for name in SEARCH:
                path = runs / f"search-{name}" / "progress.csv"
                if path.exists():
                    curve: Curve | None = {key: column[1::2] for key, column in read_progress(path).items()}
                else:
                    curve = old.get(name)
                if curve is not None:
                    rows = zip(curve["timesteps"], curve["return_mean"], strict=True)
                    writer.writerows((name, int(step), f"{mean:g}") for step, mean in rows)


def run(arguments: Sequence[str], seed: int, timesteps: int, directory: Path) -> bool:
    """Trains, or goes on, until ``timesteps``; False if it was stopped before."""
    if directory.exists():
        if pgfast.load(directory).timesteps >= timesteps:
            return True
        command = ["resume", str(directory), "--total-timesteps", str(timesteps)]
    else:
        told = ["--seed", str(seed), "--total-timesteps", str(timesteps), "--run-dir", str(directory)]
        command = ["train", "a2c", *arguments, *told]
    print("+ pgfast", *command, flush=True)
    with subprocess.Popen([sys.executable, "-m", "pgfast", *command]) as process:  # run() would kill it at Ctrl-C
        try:
            return process.wait() == 0
        except KeyboardInterrupt:  # the training got it too, and saves
            process.wait()
            return False


def train(kept: Kept, runs: Path, game: str, seeds: Sequence[int], timesteps: int) -> None:
    """Trains seeds of a game with the preset, one after the other, and plays with each."""
    for seed in seeds:
        directory = runs / f"a2c-{game}NoFrameskip-v4-{seed}"
        finished = run([f"{game}NoFrameskip-v4"], seed, timesteps, directory)
        kept.keep_curve(game, seed, directory)
        if not finished:
            sys.exit(f"stopped; the same command goes on with {directory}")
        kept.keep_games(game, seed, directory)


def search(kept: Kept, runs: Path, names: Sequence[str], timesteps: int | None) -> None:
    """Trains the settings that were compared, one after the other."""
    for name in names:
        trial = SEARCH[name]
        arguments = ["BreakoutNoFrameskip-v4", *SEARCH_BASE.split(), *trial.flags.split()]
        if trial.goes_on:
            start = runs / f"search-{START}" / "checkpoints" / f"{START_AT:012}"
            if not start.exists():
                sys.exit(f"{name} goes on from {start}, which is not there: first search {START}")
            arguments += ["--init-from", str(start)]
        finished = run(arguments, trial.seed, timesteps or trial.timesteps, runs / f"search-{name}")
        kept.keep_search(runs)
        if not finished:
            sys.exit(f"stopped; the same command goes on with {name}")


def report(kept: Kept) -> None:
    """Makes tables and pictures anew from the files that are kept."""
    page = kept.directory / "breakout.md"
    tables = {
        "breakout": tabulate_games(kept, ["Breakout"]),
        "games": tabulate_games(kept, [game for game in GAMES if game != "Breakout"]),
        "search": tabulate_search(kept, goes_on=False),
        "on": tabulate_search(kept, goes_on=True),
    }
    page.write_text(fill(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    draw_seeds("Breakout", kept.curves("Breakout"), kept.directory / "breakout-a2c.png")
    others = {game: kept.curves(game) for game in GAMES if game != "Breakout"}
    panels = {
        game: {f"seed {seed}": curve for seed, curve in curves.items()} for game, curves in others.items() if curves
    }
    draw_panels(panels, kept.directory / "atari-a2c.png", columns=3)
    settings = kept.search()
    panels = {
        title: comparable({name: settings[name] for name in names if name in settings})
        for title, names in SEARCH_PANELS.items()
    }
    panels["presets before, seed 1"] = {name: read_progress(kept.directory / file) for name, file in BEFORE.items()}
    draw_panels(panels, kept.directory / "breakout-search.png", columns=2)


def fill(text: str, tables: Mapping[str, Iterator[str]]) -> str:
    """A page with what stands between <!-- NAME --> and <!-- /NAME --> made anew."""
    for name, lines in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"the page has no place for the table {name}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n\n" + "".join(f"{line}\n" for line in lines) + f"\n{end}{rest.split(end)[1]}"
    return text


def tabulate_games(kept: Kept, games: Sequence[str]) -> Iterator[str]:
    """A line in Markdown for each run of games that have the same targets."""
    targets = GAMES[games[0]].targets
    heads = ["game, seed", "steps", "first", *(str(target) for target in targets), "best", "last", "collapses"]
    yield f"| {' | '.join([*heads, 'stochastic', 'deterministic'])} |"
    yield "|---" * (len(heads) + 2) + "|"
    for game in games:
        for seed, curve in kept.curves(game).items():
            means, steps, seconds = curve["return_mean"], curve["timesteps"], curve["wall_time"]
            full = np.flatnonzero(curve["episodes"] >= MEAN_OF)
            cells = [f"{game}, {seed}", f"{steps[-1] / 1e6:.2f} M", f"{means[full[0]]:.1f}" if full.size else "-"]
            for target in targets:
                hits = full[means[full] >= target]
                cells.append(f"{steps[hits[0]] / 1e6:.2f} M, {clock(seconds[hits[0]])}" if hits.size else "-")
            best = f"{means[full].max():.1f}" if full.size else "-"
            cells += [best, f"{means[-1]:.1f}", str(count_collapses(means[full]))]
            played = [row for row in kept.games() if (row["game"], row["seed"]) == (game, str(seed))]
            cells += [score_of(played, policy) for policy in ("stochastic", "deterministic")]
            yield f"| {' | '.join(cells)} |"


def tabulate_search(kept: Kept, goes_on: bool) -> Iterator[str]:
    """The trials of one kind, with their means on the way."""
    marks = MARKS_ON if goes_on else MARKS
    yield "| name | instead of the base's | " + " | ".join(f"{mark / 1e6:g} M" for mark in marks) + " |"
    yield "|---" * (2 + len(marks)) + "|"
    for name, curve in kept.search().items():
        if SEARCH[name].goes_on == goes_on:
            scores = [curve["return_mean"][curve["timesteps"] >= mark][:1] for mark in marks]
            cells = [f"{score[0]:.1f}" if score.size else "" for score in scores]
            yield f"| {name} | {f'`{SEARCH[name].flags}`' if SEARCH[name].flags else ''} | {' | '.join(cells)} |"


def count_collapses(means: np.ndarray) -> int:
    """How often a mean fell below half of the best so far, having been above; of positive means alone."""
    best = np.fmax.accumulate(means)
    below = (best > 0) & (means < 0.5 * best)
    return int(np.count_nonzero(below[1:] & ~below[:-1]))


def clock(seconds: float) -> str:
    """Hours and minutes."""
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


def score_of(played: Sequence[Mapping[str, str]], policy: str) -> str:
    """Mean and standard deviation of the games of one kind."""
    scores = np.array([float(row["score"]) for row in played if row["policy"] == policy])
    return f"{scores.mean():.1f} ± {scores.std():.1f}" if scores.size else "-"


def draw_seeds(game: str, curves: Mapping[int, Curve], path: Path) -> None:
    """Every seed's curve, over steps and over time."""
    figure = Figure(figsize=(10.0, 4.2), dpi=120, layout="constrained")
    by_steps, by_time = figure.subplots(1, 2, sharey=True)
    for colour, (seed, curve) in zip(COLOURS, curves.items(), strict=False):
        look = {"color": colour, "linewidth": 1.1, "label": f"seed {seed}"}
        by_steps.plot(curve["timesteps"] / 1e6, curve["return_mean"], **look)
        by_time.plot(curve["wall_time"] / 60.0, curve["return_mean"], **look)
    style(by_steps, f"A2C on {game}: mean score of the last 100 games", "millions of steps")
    style(by_time, "the same over time", "minutes on two cores")
    by_steps.legend(frameon=False, fontsize=9, loc="upper left")
    figure.savefig(path)


def draw_panels(panels: Mapping[str, Mapping[str, Curve]], path: Path, columns: int) -> None:
    """A panel for each title, with its curves by name."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(10.0, 6.4 / columns * rows), dpi=110, layout="constrained")
    for index, (title, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
            axes.plot(curve["timesteps"] / 1e6, curve["return_mean"], color=colour, linewidth=1.1, label=name)
        style(axes, title, "millions of steps")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path)


def comparable(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Curves up to where the last but one ends."""
    ends = sorted(curve["timesteps"][-1] for curve in curves.values())
    end = ends[-2] if len(ends) > 1 else np.inf
    return {
        name: {key: column[curve["timesteps"] <= end] for key, column in curve.items()}
        for name, curve in curves.items()
    }


def style(axes: Axes, title: str, x_label: str) -> None:
    """What all panels have in common."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(x_label, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis="y", color="#D9D9D9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)


def main() -> None:
    """The three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (train, search, report):
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.add_argument("--results", type=Path, default=HERE, help="the files kept (default: beside this script)")
        if function is train:
            command.add_argument("game", choices=GAMES)
            command.add_argument("--seeds", type=int, nargs="+", help="in place of the game's own")
        if function is search:
            command.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SEARCH)}; all if none")
        if function is not report:
            command.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are (default: runs)")
            command.add_argument("--timesteps", type=int, help="in place of what the pages report")
    args = parser.parse_args()
    kept = Kept(args.results)
    if args.command == "train":
        game = GAMES[args.game]
        train(kept, args.runs, args.game, args.seeds or game.seeds, args.timesteps or game.timesteps)
    elif args.command == "search":
        unknown = set(args.names) - set(SEARCH)
        if unknown:
            parser.error(f"no settings are called {', '.join(sorted(unknown))}")
        search(kept, args.runs, args.names or tuple(SEARCH), args.timesteps)
    else:
        report(kept)


if __name__ == "__main__":
    main()
