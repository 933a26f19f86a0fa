"""Trains agents on Atari games, evaluates the trained policies, and writes the tables and figures of these pages.

python docs/results/atari.py train GAME [--seeds N ...]    A2C's preset, as the pages report it
python docs/results/atari.py compare ALGORITHM [GAME ...]  another algorithm's preset, to be drawn beside A2C's
python docs/results/atari.py search [NAME ...]             the settings that were compared on Breakout
python docs/results/atari.py report                        tables and figures, from the files kept here

All but the last resume a run that is already in --runs. They update the files beside this script, also after Ctrl-C,
unless these contain more of the run. They need the extras `all`; 10 million steps take about an hour on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pgfast
from atari_kept import Kept
from atari_report import report
from atari_settings import (
    COMPARED,
    COMPARED_GAMES,
    COMPARED_TIMESTEPS,
    GAMES,
    SEARCH,
    SEARCH_BASE,
    WARM_START,
    WARM_START_STEPS,
)

HERE = Path(__file__).parent


def run(algorithm: str, arguments: Sequence[str], seed: int, timesteps: int, directory: Path) -> bool:
    """Trains or resumes to ``timesteps``; returns False if the run was stopped or failed."""
    if directory.exists():
        if pgfast.load(directory).timesteps >= timesteps:
            return True
        command = ["resume", str(directory), "--total-timesteps", str(timesteps)]
    else:
        options = ["--seed", str(seed), "--total-timesteps", str(timesteps), "--run-dir", str(directory)]
        command = ["train", algorithm, *arguments, *options]
    print("+ pgfast", *command, flush=True)
    with subprocess.Popen([sys.executable, "-m", "pgfast", *command]) as process:  # run() would kill it on Ctrl-C
        try:
            return process.wait() == 0
        except KeyboardInterrupt:  # the training received it too, and saves
            process.wait()
            return False


def train(kept: Kept, runs: Path, game: str, seeds: Sequence[int], timesteps: int) -> None:
    """Trains seeds of a game with the preset, one after the other, and evaluates each."""
    for seed in seeds:
        directory = runs / f"a2c-{game}NoFrameskip-v4-{seed}"
        finished = run("a2c", [f"{game}NoFrameskip-v4"], seed, timesteps, directory)
        kept.keep_curve("a2c", game, seed, directory)
        if not finished:
            sys.exit(f"not finished; the same command continues {directory}")
        kept.keep_games(game, seed, directory)


def compare(kept: Kept, runs: Path, algorithm: str, games: Sequence[str], timesteps: int) -> None:
    """Trains an algorithm's preset on games, one seed each, one after the other."""
    for game in games:
        seed = GAMES[game].seeds[0]
        directory = runs / f"{algorithm}-{game}NoFrameskip-v4-{seed}"
        finished = run(algorithm, [f"{game}NoFrameskip-v4"], seed, timesteps, directory)
        kept.keep_curve(algorithm, game, seed, directory)
        if not finished:
            sys.exit(f"not finished; the same command continues {directory}")


def search(kept: Kept, runs: Path, names: Sequence[str], timesteps: int | None) -> None:
    """Trains the settings that were compared, one after the other."""
    for name in names:
        trial = SEARCH[name]
        arguments = ["BreakoutNoFrameskip-v4", *SEARCH_BASE.split(), *trial.flags.split()]
        if trial.warm_start:
            start = runs / f"search-{WARM_START}" / "checkpoints" / f"{WARM_START_STEPS:012}"
            if not start.exists():
                sys.exit(f"{name} starts from {start}, which is missing: first search {WARM_START}")
            arguments += ["--init-from", str(start)]
        finished = run("a2c", arguments, trial.seed, timesteps or trial.timesteps, runs / f"search-{name}")
        kept.keep_trial(name, runs / f"search-{name}")
        if not finished:
            sys.exit(f"not finished; the same command continues {name}")


def main() -> None:
    """Parses the command line and runs one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for function in (train, compare, search, report):
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.add_argument("--results", type=Path, default=HERE, help="the files kept (default: beside this script)")
        if function is train:
            command.add_argument("game", choices=GAMES)
            command.add_argument("--seeds", type=int, nargs="+", help="instead of the reported ones")
        if function is compare:
            command.add_argument("algorithm", choices=COMPARED)
            command.add_argument(
                "games", nargs="*", metavar="GAME", help=f"one of {', '.join(COMPARED_GAMES)} (default: all)"
            )
        if function is search:
            command.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SEARCH)} (default: all)")
        if function is not report:
            command.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are (default: runs)")
            command.add_argument("--timesteps", type=int, help="instead of the reported length")
    args = parser.parse_args()
    kept = Kept(args.results)
    if args.command == "train":
        game = GAMES[args.game]
        train(kept, args.runs, args.game, args.seeds or game.seeds, args.timesteps or game.timesteps)
    elif args.command == "compare":
        unknown = set(args.games) - set(COMPARED_GAMES)
        if unknown:
            parser.error(f"no curve of A2C is drawn beside {', '.join(sorted(unknown))}")
        timesteps = args.timesteps or COMPARED_TIMESTEPS
        compare(kept, args.runs, args.algorithm, args.games or COMPARED_GAMES, timesteps)
    elif args.command == "search":
        unknown = set(args.names) - set(SEARCH)
        if unknown:
            parser.error(f"no settings are called {', '.join(sorted(unknown))}")
        search(kept, args.runs, args.names or tuple(SEARCH), args.timesteps)
    else:
        report(kept)


if __name__ == "__main__":
    main()
