"""What is trained on Atari games: the games that are reported, and the settings that were compared on Breakout."""

from __future__ import annotations

from dataclasses import dataclass


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
