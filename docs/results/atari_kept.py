"""Reads and writes the data files of the Atari pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

import pgfast
from atari_settings import COMPARED, GAMES, SEARCH
from pgfast.runs.files import write_atomically
from pgfast.runs.progress_log import read_progress

Curve = Mapping[str, np.ndarray]


class Kept:
    """The data files of the pages, in one directory."""

    FIELDS = ("game", "seed", "timesteps", "policy", "score", "length")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._games, self._search = directory / "atari-games.csv", directory / "breakout-search.csv"

    def curves(self, game: str) -> dict[int, Curve]:
        """The columns of the kept ``progress.csv`` of each of A2C's seeds of a game."""
        paths = {seed: self._curve("a2c", game, seed) for seed in GAMES[game].seeds}
        return {seed: read_progress(path) for seed, path in paths.items() if path.exists()}

    def compared(self, game: str) -> dict[str, Curve]:
        """The same of a game's first seed, for each algorithm."""
        paths = {name: self._curve(name, game, GAMES[game].seeds[0]) for name in ("a2c", *COMPARED)}
        return {name: read_progress(path) for name, path in paths.items() if path.exists()}

    def keep_curve(self, algorithm: str, game: str, seed: int, run_dir: Path) -> None:
        """Keeps the progress of a run, unless the kept file has more of it."""
        source, target = run_dir / "progress.csv", self._curve(algorithm, game, seed)
        if not (target.exists() and last_step(read_progress(target)) > last_step(read_progress(source))):
            write_atomically(target, source.read_bytes())

    def _curve(self, algorithm: str, game: str, seed: int) -> Path:
        return self.directory / f"{game.lower()}-{algorithm}-seed{seed}.csv"

    def games(self) -> list[dict[str, str]]:
        """The evaluation games of trained policies, one per row."""
        if not self._games.exists():
            return []
        with self._games.open(newline="") as file:
            return list(csv.DictReader(file))

    def keep_games(self, game: str, seed: int, run_dir: Path) -> None:
        """Evaluates the model of a run in 30 games of each kind, unless a model of as many timesteps was evaluated."""
        agent = pgfast.load(run_dir)
        games = self.games()
        old = [row for row in games if (row["game"], row["seed"]) == (game, str(seed))]
        if any(int(row["timesteps"]) >= agent.timesteps for row in old):
            return
        rows = [row for row in games if row not in old]
        for policy in ("stochastic", "deterministic"):
            result = agent.evaluate(30, deterministic=policy == "deterministic")
            for episode_return, length in zip(result.returns, result.lengths, strict=True):
                values = (game, str(seed), str(agent.timesteps), policy, f"{episode_return:g}", str(length))
                rows.append(dict(zip(self.FIELDS, values, strict=True)))
        rows.sort(key=lambda row: (row["game"], int(row["seed"])))
        write_table(self._games, self.FIELDS, (row.values() for row in rows))

    def search(self) -> dict[str, Curve]:
        """Timesteps and mean returns of the compared settings, by name."""
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

    def keep_trial(self, name: str, run_dir: Path) -> None:
        """Keeps every second row of a trial's progress, unless the kept file has more of it."""
        curves = self.search()
        curve = {key: column[1::2] for key, column in read_progress(run_dir / "progress.csv").items()}
        if name not in curves or last_step(curve) >= last_step(curves[name]):
            curves[name] = curve
        rows = [
            (each, int(step), f"{mean:g}")
            for each in SEARCH
            if each in curves
            for step, mean in zip(curves[each]["timesteps"], curves[each]["return_mean"], strict=True)
        ]
        write_table(self._search, ("name", "timesteps", "return_mean"), rows)


def last_step(curve: Curve) -> float:
    """The last timestep of a curve; 0 if it is empty."""
    return float(curve["timesteps"][-1]) if curve["timesteps"].size else 0.0


def write_table(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes a CSV file atomically."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
