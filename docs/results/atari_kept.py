"""The files that the pages on Atari are made from."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import pgfast
from atari_settings import GAMES, SEARCH
from pgfast.training.progress_log import read_progress

Curve = Mapping[str, np.ndarray]


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
