"""The Atari games that the pages report, and the settings that were compared on Breakout."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Game:
    """An Atari game as the pages report it."""

    timesteps: int
    seeds: tuple[int, ...]
    targets: tuple[int, ...] = ()  # means of the last 100 games; the table shows when they were reached
    untimed: tuple[int, ...] = ()  # seeds trained beside other work: their times mean nothing


GAMES = {
    "Breakout": Game(10_000_000, (2, 3, 4), (100, 200, 300, 400), untimed=(4,)),
    "Pong": Game(10_000_000, (1,)),
    "BeamRider": Game(2_000_000, (1,)),
    "Enduro": Game(2_000_000, (1,)),
    "MsPacman": Game(2_000_000, (1,)),
    "Qbert": Game(2_000_000, (1,)),
    "Seaquest": Game(2_000_000, (1,)),
    "SpaceInvaders": Game(2_000_000, (1,)),
}

# Algorithms whose curves are drawn beside A2C's, each with its first seed of these games.
COMPARED = ("ppo", "acktr")
COMPARED_GAMES = ("Breakout", "Qbert", "SpaceInvaders", "BeamRider")
COMPARED_TIMESTEPS = 2_000_000
COMPARED_MARKS = (500_000, 1_000_000, 1_500_000, 2_000_000)


@dataclass(frozen=True)
class Trial:
    """Settings that were compared with others on Breakout."""

    timesteps: int  # its curve had answered the question by then
    flags: str = ""  # override those of SEARCH_BASE
    warm_start: bool = False  # from the model of WARM_START, with a new optimizer

    @property
    def seed(self) -> int:
        """A seed that is not reported."""
        return 201 if self.warm_start else 101


WARM_START, WARM_START_STEPS = "rate-1.4e-3-lambda-0.9", 2_000_000
# Spelled out, so that the trials stay the same when the preset changes.
SEARCH_BASE = (
    "--network origin_cnn --num-envs 16 --n-steps 20 --discount 0.99 --gae-lambda 0.95 --optimizer adam "
    "--learning-rate 1e-3 --learning-rate-schedule constant --max-grad-norm 0.5 --value-coef 0.5 --entropy-coef 0.01 "
    "--sync-every 1000000"
)
SEARCH = {
    "base": Trial(1_000_000),
    "steps-10": Trial(440_000, "--n-steps 10"),
    "envs-8": Trial(1_500_000, "--num-envs 8"),
    "envs-8-steps-40": Trial(500_000, "--num-envs 8 --n-steps 40"),
    "rate-1.4e-3": Trial(3_000_000, "--learning-rate 1.4e-3"),
    "rate-2e-3": Trial(3_000_000, "--learning-rate 2e-3"),
    "rate-2e-3-normalized": Trial(480_000, "--learning-rate 2e-3 --normalize-advantages"),
    "rate-1.4e-3-lambda-0.8": Trial(1_000_000, "--learning-rate 1.4e-3 --gae-lambda 0.8"),
    "rate-1.4e-3-lambda-0.9": Trial(2_500_000, "--learning-rate 1.4e-3 --gae-lambda 0.9"),
    "rate-1.4e-3-lambda-1": Trial(1_000_000, "--learning-rate 1.4e-3 --gae-lambda 1"),
    "rate-1.4e-3-clip-0.1": Trial(1_000_000, "--learning-rate 1.4e-3 --max-grad-norm 0.1"),
    "rate-1.4e-3-value-0.25": Trial(1_000_000, "--learning-rate 1.4e-3 --value-coef 0.25"),
    "rmsprop": Trial(1_160_000, "--optimizer rmsprop"),
    "envs-8-rate-2e-3": Trial(2_320_000, "--num-envs 8 --learning-rate 2e-3"),
    "envs-8-entropy-0.005": Trial(680_000, "--num-envs 8 --entropy-coef 0.005"),
    "envs-8-rate-2e-3-entropy-0.005": Trial(640_000, "--num-envs 8 --learning-rate 2e-3 --entropy-coef 0.005"),
    "envs-8-rate-2e-3-nature": Trial(400_000, "--num-envs 8 --learning-rate 2e-3 --network nature_cnn"),
    "on-7e-4": Trial(600_000, "--gae-lambda 0.9 --learning-rate 7e-4", warm_start=True),
    "on-1e-3": Trial(600_000, "--gae-lambda 0.9 --learning-rate 1e-3", warm_start=True),
    "on-1.4e-3": Trial(600_000, "--gae-lambda 0.9 --learning-rate 1.4e-3", warm_start=True),
    "on-1.4e-3-envs-32": Trial(
        600_000, "--gae-lambda 0.9 --learning-rate 1.4e-3 --num-envs 32 --n-steps 10", warm_start=True
    ),
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
    f"after 2 million steps of {WARM_START}": ("on-7e-4", "on-1e-3", "on-1.4e-3", "on-1.4e-3-envs-32"),
}
# Previous presets, both with lambda 0.95, trained with seed 1.
EARLIER_PRESETS = {
    "rate 1e-3, constant": "breakout-before-1e-3.csv",
    "rate 2e-3, falling to 0": "breakout-before-2e-3.csv",
}
# Steps at which trials are compared.
MARKS = (250_000, 500_000, 1_000_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000)
WARM_START_MARKS = (100_000, 200_000, 300_000, 400_000, 500_000, 600_000)
