"""The command line: ``pgfast COMMAND ...``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import pgfast
from pgfast.profiling import Profile
from pgfast.training.agent import Agent
from pgfast.training.files import CheckpointError
from pgfast.training.loading import ALGORITHMS, load
from pgfast.training.loading import verify as verify_path
from pgfast.training.run import Run
from pgfast.training.settings import Settings, preset_names, preset_timesteps, presets, resolve_settings

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
    algorithm, preset = ALGORITHMS[algo], _value_of(flags, "--preset", "default")
    default = resolve_settings(algorithm.settings_type, algo, env_id, preset, {})
    options, settings = _parse_train(
        algorithm.settings_type, default, preset_timesteps(algo, env_id, preset), flags, f"pgfast train {algo} {env_id}"
    )

    from pgfast.training.loop import train as run_training
    from pgfast.training.progress import make_reporter

    if options.total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1, got {options.total_timesteps}")
    chosen = asdict(settings)
    if options.checkpoint_every is not None:
        chosen["sync_every"] = options.checkpoint_every
    if options.num_threads is not None:
        pgfast.set_num_threads(options.num_threads)
    agent = algorithm(env_id, preset=None, **chosen)
    agent.preset = preset
    run = Run.create(agent, options.run_dir, options.total_timesteps)
    origin = f"preset {preset}" if preset in preset_names(algo, env_id) else "no preset, the algorithm's own settings"
    print(f"{algo} on {env_id}, {origin}: " + _describe(agent.settings))
    print(f"run directory: {run.directory.path}", flush=True)
    reporter = make_reporter(options.total_timesteps, 0, enabled=True)
    try:
        with _profiled(options.profile):
            try:
                run_training(agent, options.total_timesteps, run=run, reporter=reporter)
            finally:
                reporter.close()
    except (KeyboardInterrupt, SystemExit):
        print(_describe_stop(agent, run))
        raise
    finally:
        run.close()
    _require_saved(agent, run)
    print(f"done: {agent.timesteps:,} timesteps; play with: pgfast eval {run.directory.path}")


def _parse_train(
    settings_type: type[Settings], default: Settings, total_timesteps: int, flags: list[str], prog: str
) -> tuple[TrainOptions, Settings]:
    """Both dataclasses from one list of flags."""

    def both(
        options: Annotated[TrainOptions, tyro.conf.arg(name="")],
        settings: Annotated[Any, tyro.conf.arg(name="")],
    ) -> tuple[TrainOptions, Settings]:
        return options, settings

    both.__annotations__["settings"] = Annotated[settings_type, tyro.conf.arg(name="")]
    both.__defaults__ = (TrainOptions(total_timesteps=total_timesteps), default)
    return tyro.cli(
        both,
        args=flags,
        prog=prog,
        description="Train an agent; the defaults shown are the preset's.",
        config=(tyro.conf.OmitArgPrefixes,),
    )


@contextmanager
def _profiled(wanted: bool) -> Iterator[None]:
    """Prints where the time went, however the training ended."""
    if not wanted:
        yield
        return
    profile = Profile()
    try:
        with profile:
            yield
    finally:
        print(profile)


def _describe_stop(agent: Agent, run: Run) -> str:
    saved = "saved" if run.saved_at == agent.timesteps else "NOT saved, the last checkpoint is older"
    return f"stopped at {agent.timesteps:,} timesteps, {saved}; go on with: pgfast resume {run.directory.path}"


def _require_saved(agent: Agent, run: Run) -> None:
    if run.saved_at != agent.timesteps:
        raise OSError(
            f"the run is at its end, {agent.timesteps:,} timesteps, but this could not be saved; when it can, "
            f"go on from the last checkpoint with: pgfast resume {run.directory.path}"
        )


def _value_of(flags: list[str], name: str, default: str) -> str:
    for index, flag in enumerate(flags):
        if flag == name and index + 1 < len(flags):
            return flags[index + 1]
        if flag.startswith(f"{name}="):
            return flag.partition("=")[2]
    return default


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
    from pgfast.training.resuming import resume as open_run

    if num_threads is not None:
        pgfast.set_num_threads(num_threads)
    resumption = open_run(run_dir, total_timesteps)
    try:
        with _profiled(profile):
            resumption.train()
    except (KeyboardInterrupt, SystemExit):
        print(_describe_stop(resumption.agent, resumption.run))
        raise
    _require_saved(resumption.agent, resumption.run)
    print(f"done: {resumption.agent.timesteps:,} timesteps; play with: pgfast eval {run_dir}")


def _refuse_settings(flags: list[str]) -> None:
    """A run with other settings would be another run."""
    settings = {field.name for algorithm in ALGORITHMS.values() for field in fields(algorithm.settings_type)}
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
    from pgfast.training.video import record_video

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
    from pgfast.training.plots import plot_runs

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
