"""The command line: ``pgfast COMMAND ...``."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import pgfast
from pgfast.agent import ALGORITHMS
from pgfast.learning.settings import Settings, preset_names, preset_timesteps, presets, resolve_settings
from pgfast.loading import load
from pgfast.loading import verify as verify_path
from pgfast.profiling import Profile
from pgfast.reporting.plots import plot_runs
from pgfast.reporting.video import record_video
from pgfast.resuming import Session
from pgfast.resuming import resume as open_run
from pgfast.runs.files import CheckpointError
from pgfast.training.loop import create_run

__all__ = ["main"]

_EXAMPLE = "for example: pgfast train a2c BreakoutNoFrameskip-v4"


class UsageError(Exception):
    """A command line that cannot be understood; exit status 2."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What ``pgfast train`` takes besides the algorithm's settings."""

    total_timesteps: int
    """Length of the run in timesteps, all environments together; it ends with the update that reaches it."""
    num_threads: int | None = None
    """Threads of the kernels and of the emulator; as many as the CPUs if not given."""
    run_dir: Path | None = None
    """Directory of the run, which must not exist; runs/ALGO-ENV-SEED if not given."""
    checkpoint_every: int | None = None
    """Timesteps between exact checkpoints; another word for --sync-every."""
    preset: str = "default"
    """Tuned settings to start from."""
    profile: bool = False
    """Print at the end where the time went."""


def train(args: list[str]) -> None:
    """Train an agent: pgfast train ALGO ENV [--total-timesteps N] [--seed S] [any setting]."""
    asks_help = "-h" in args or "--help" in args
    words = [word for word in args[:2] if not word.startswith("-")]
    if len(words) < 2 and not asks_help:
        raise UsageError(f"train needs an algorithm and an environment; {_EXAMPLE}")
    algo, env_id = (*words, *("a2c", "BreakoutNoFrameskip-v4")[len(words) :])
    if algo not in ALGORITHMS:
        raise UsageError(f'there is no algorithm "{algo}"; there is: {", ".join(ALGORITHMS)}')
    flags = args[len(words) :]
    preset = _preset_of(flags)
    settings_type = ALGORITHMS[algo].learner_type.settings_type
    default = resolve_settings(settings_type, algo, env_id, preset, {})
    unchecked = {"__post_init__": lambda self: None}  # tyro would frame the message; the agent checks its settings
    both = make_dataclass(
        "Both", [], bases=(settings_type, TrainOptions), namespace=unchecked, frozen=True, kw_only=True
    )
    options: Any = tyro.cli(
        both,
        args=flags,
        prog=f"pgfast train {algo} {env_id}",
        description="Train an agent; the defaults shown are the preset's.",
        default=both(**asdict(default), total_timesteps=preset_timesteps(algo, env_id, preset)),
    )

    if options.total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1, got {options.total_timesteps}")
    chosen = {field.name: getattr(options, field.name) for field in fields(settings_type)}
    if options.checkpoint_every is not None:
        chosen["sync_every"] = options.checkpoint_every
    if options.num_threads is not None:
        pgfast.set_num_threads(options.num_threads)
    agent = ALGORITHMS[algo](env_id, preset=None, **chosen)
    agent.preset = preset
    run = create_run(agent, options.run_dir, options.total_timesteps, preset)
    origin = f"preset {preset}" if preset in preset_names(algo, env_id) else "no preset, the algorithm's own settings"
    print(f"{algo} on {env_id}, {origin}: " + _describe(agent.settings))
    print(f"run directory: {run.directory.path}", flush=True)
    _carry_out(Session(agent, run, options.total_timesteps), options.profile)


def _preset_of(flags: list[str]) -> str:
    """Known before all other flags, whose defaults are the preset's."""
    parser = ArgumentParser(prog="pgfast train", add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", default=TrainOptions.preset)
    return str(parser.parse_known_args(flags)[0].preset)


def _carry_out(session: Session, profiled: bool) -> None:
    """Trains, and says where the run stands then: at its end, or where a signal stopped it."""
    agent, run, profile = session.agent, session.run, Profile()
    path = run.directory.path
    try:
        with profile if profiled else nullcontext():
            session.train()
    except (KeyboardInterrupt, SystemExit):
        saved = "saved" if run.saved_at == agent.timesteps else "NOT saved, the last checkpoint is older"
        print(f"stopped at {agent.timesteps:,} timesteps, {saved}; go on with: pgfast resume {path}")
        raise
    finally:
        if profiled:
            print(profile)
    if run.saved_at != agent.timesteps:
        raise OSError(
            f"the run is at its end, {agent.timesteps:,} timesteps, but this could not be saved; when it can, "
            f"go on from the last checkpoint with: pgfast resume {path}"
        )
    print(f"done: {agent.timesteps:,} timesteps; play with: pgfast eval {path}")


def _describe(settings: Settings) -> str:
    return " ".join(
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in asdict(settings).items()
        if value is not None
    )


def resume(
    run_dir: tyro.conf.Positional[Path],
    /,
    total_timesteps: int | None = None,
    num_threads: int | None = None,
    profile: bool = False,
) -> None:
    """Go on with a run from its last checkpoint, with the settings it was started with.

    Args:
        run_dir: Directory of the run.
        total_timesteps: Length of the whole run; the one it was started with if not given.
        num_threads: Threads of the kernels and of the emulator; as many as the CPUs if not given.
        profile: Print at the end where the time went.
    """
    if num_threads is not None:
        pgfast.set_num_threads(num_threads)
    _carry_out(open_run(run_dir, total_timesteps), profile)


def _refuse_settings(flags: list[str]) -> None:
    """A run with other settings would be another run."""
    kinds = [algorithm.learner_type.settings_type for algorithm in ALGORITHMS.values()]
    settings = {field.name for kind in kinds for field in fields(kind)}
    for flag in flags:
        name = flag.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if flag.startswith("--") and name in settings:
            raise UsageError(
                f"resume goes on with the settings that the run was started with, {name} included; only "
                "--total-timesteps, --num-threads and --profile can be given. To train its model with other settings, "
                "start a new run with --init-from RUN_DIR"
            )


def evaluate(
    path: tyro.conf.Positional[Path], /, episodes: int = 30, deterministic: bool = False, seed: int = 0
) -> None:
    """Play whole games with a trained agent and report their raw scores.

    Args:
        path: A run directory, a checkpoint or a model file.
        episodes: Games to play; each environment plays a fixed share of them.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the games and of the sampled actions.
    """
    agent = load(path)
    result = agent.evaluate(episodes, deterministic=deterministic, seed=seed)
    kind = "deterministic" if deterministic else "stochastic"
    print(f"{agent.name} on {agent.env_id}: {episodes} whole games, {kind} policy, seed {seed}")
    print(
        f"return {result.return_mean:.1f} +- {result.return_std:.1f}"
        f" (min {result.returns.min():.1f}, median {np.median(result.returns):.1f}, max {result.returns.max():.1f}),"
        f" length {result.lengths.mean():.0f}"
    )


def video(
    path: tyro.conf.Positional[Path], /, out: Path | None = None, deterministic: bool = False, seed: int = 0
) -> None:
    """Record one game of a trained agent as an MP4.

    Args:
        path: A run directory, a checkpoint or a model file.
        out: The file to write; videos/ENV-SEED.mp4 in the run directory, or ENV-SEED.mp4 here, if not given.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the game and of the sampled actions.
    """
    agent = load(path)
    if out is None:
        name = f"{str(agent.env_id).replace('/', '_')}-{seed}.mp4"
        out = path / "videos" / name if (path / "config.json").exists() else Path(name)
    result = record_video(agent, out, seed=seed, deterministic=deterministic)
    print(f"{out}: score {result.score:g}, {result.frames:,} frames")


def plot(
    run_dirs: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path = Path("learning_curve.png"),
    title: str | None = None,
) -> None:
    """Draw the learning curves of one or several runs.

    Args:
        run_dirs: Run directories.
        out: The picture to write.
        title: Title of the picture.
    """
    if not run_dirs:
        raise UsageError("plot needs at least one run directory")
    plot_runs(run_dirs, out, title=title)
    print(out)


def verify(path: tyro.conf.Positional[Path], /) -> None:
    """Check a run directory, a checkpoint or a model file, without running anything from it.

    Args:
        path: What to check.
    """
    agent = verify_path(path)
    print(f"{path}: whole; {agent.name} on {agent.env_id} at {agent.timesteps:,} timesteps, all parameters finite")


def list_presets() -> None:
    """List algorithms, their presets and the environments that these are for."""
    for algo in ALGORITHMS:
        print(algo)
        names: dict[str, list[str]] = {}
        for name, table in presets(algo).items():
            for env_id in table:
                names.setdefault("every Atari game" if env_id == "atari" else env_id, []).append(name)
        for env_id, of_env in sorted(names.items()):
            print(f"  {env_id:24s} presets: {', '.join(of_env)}")
    print("Any other environment that is registered with Gymnasium works too, with settings of your own.")


def info() -> None:
    """Show versions, the instruction set in use and the threads a training will use."""
    native = pgfast.native_info()
    threads = native["num_threads"]
    print(f"pgfast {pgfast.__version__}")
    print(f"instruction set: {native['isa']} (this CPU supports {', '.join(native['supported'])})")
    print(f"compiled with: {native['compiler']}, Eigen {native['eigen']}")
    print(f"threads of the kernels: {threads} (of {os.cpu_count()} CPUs)")
    emulators = min(threads, os.cpu_count() or threads)  # ale-py makes no more
    print(f"threads of an Atari emulator: {emulators}, busy while those of the kernels wait")


COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "train": (train, "train an agent: pgfast train ALGO ENV"),
    "resume": (resume, "go on with a run"),
    "eval": (evaluate, "play whole games and report their scores"),
    "video": (video, "record one game as an MP4"),
    "plot": (plot, "draw learning curves"),
    "verify": (verify, "check a model, a checkpoint or a run"),
    "list": (list_presets, "list algorithms and presets"),
    "info": (info, "show versions, instruction set and threads"),
}


def _usage() -> str:
    lines = ["usage: pgfast COMMAND [arguments]", ""]
    lines += [f"  {name:8s} {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([*lines, "", "pgfast COMMAND --help says more; " + _EXAMPLE])


def main(argv: list[str] | None = None) -> int:
    """Runs one command; gives the exit status. Errors that a user can cause are one sentence on standard error."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print(_usage())
        return 0 if args else 2
    if args[0] == "--version":
        print(pgfast.__version__)
        return 0
    name, rest = args[0], args[1:]
    try:
        if name not in COMMANDS:
            raise UsageError(f'there is no command "{name}"; there is: {", ".join(COMMANDS)}')
        command = COMMANDS[name][0]
        if command is train:
            train(rest)
        else:
            if command is resume:
                _refuse_settings(rest)
            tyro.cli(command, args=rest, prog=f"pgfast {name}")
    except UsageError as error:
        print(f"pgfast: {error}", file=sys.stderr)
        return 2
    except (CheckpointError, ValueError, TypeError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        print(f"pgfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
