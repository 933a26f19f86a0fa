"""The commands of the command line, apart from their parsing."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

import pgfast
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.flags import Imports, import_typed
from pgfast.learning.bounds import Bounded, Count
from pgfast.learning.presets import preset_names, presets
from pgfast.learning.settings import setting_groups
from pgfast.loading import load
from pgfast.loading import verify as verify_path
from pgfast.profiling import Profile
from pgfast.reporting.plots import plot_runs
from pgfast.reporting.progress import print_line
from pgfast.reporting.tensorboard import write_video
from pgfast.reporting.video import make_gif, record_video
from pgfast.resuming import open_run
from pgfast.runs.run_directory import RunDirectory
from pgfast.runs.session import Session
from pgfast.training.continuing import continue_session
from pgfast.training.loop import create_session
from pgfast.training.loop import train as run_training

__all__ = ["COMMANDS", "EnvId", "RunOptions", "UsageError", "train"]


class UsageError(Exception):
    """An invalid command line; exit status 2."""


def _positional(metavar: str, help: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help=help)


EnvId = Annotated[
    tyro.conf.Positional[str], _positional("ENV", "Environment id; the defaults shown are those of its preset.")
]
SavedPath = Annotated[tyro.conf.Positional[Path], _positional("PATH", "A run directory, a checkpoint or a model file.")]
RunPath = Annotated[tyro.conf.Positional[Path], _positional("RUN_DIR", "Directory of the run.")]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
RunPaths = Annotated[tyro.conf.Positional[tuple[Path, ...]], _positional("RUN_DIR...", "Directories of the runs.")]


@dataclass(frozen=True, kw_only=True)
class RunOptions(Bounded):
    """The options of ``pgfast train`` besides the settings of the algorithm."""

    total_timesteps: Count
    """Length of the run in timesteps, all environments together; the update that reaches it is the last."""
    preset: str = "default"
    """Tuned settings to start from: the defaults shown here. "pgfast list" names them."""
    run_dir: Path | None = None
    """Directory of the run, which must not exist. None: runs/ALGO-ENV-SEED."""
    resume_if_exists: bool = False
    """Continue the run in the directory if there is one, with the same settings: for jobs that are started again."""
    modules: tuple[str, ...] = ()
    """Module to import first, for the environments that it registers. May be repeated."""
    num_threads: Count | None = None
    """Threads of the kernels and of the Atari emulators. None: one for each CPU."""
    profile: bool = False
    """Print a time profile at the end."""


def train(algo: str, env_id: str, options: RunOptions, settings: dict[str, Any]) -> None:
    """Trains an agent in a new run directory, or continues the run there if it may."""
    if options.num_threads is not None:
        pgfast.set_num_threads(options.num_threads)
    agent = ALGORITHMS[algo](env_id, preset=None, **settings)
    agent.preset = options.preset if options.preset in preset_names(algo, env_id) else None
    with _open_session(agent, options) as session:
        if agent.timesteps >= options.total_timesteps:
            print_line(f"{session.directory.path} is complete at {agent.timesteps:,} timesteps")
            return
        head = [agent.describe()]
        for group, names in setting_groups(type(agent.settings)).items():
            head.append(_show_settings(group, {name: getattr(agent.settings, name) for name in names}))
        print_line("\n".join([*head, f"run directory: {session.directory.path}"]))
        _run(agent, session, options.total_timesteps, options.profile, options.modules)


def _open_session(agent: Agent, options: RunOptions) -> Session:
    path = options.run_dir
    if options.resume_if_exists:
        if path is None:
            path = RunDirectory.default_path(algo=agent.name, env_id=agent.env_id, seed=agent.settings.seed)
        if (path / "config.json").exists():
            return continue_session(agent, path)
    return create_session(agent, path, options.total_timesteps, agent.preset)


def _show_settings(group: str, values: dict[str, Any]) -> str:
    """The settings that have a value, wrapped between words."""
    shown = {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
    text = " ".join(f"{name}={value}" for name, value in shown.items() if value is not None)
    return textwrap.fill(
        text,
        shutil.get_terminal_size((120, 24)).columns,
        initial_indent=f"  {group:12s}",
        subsequent_indent=" " * 14,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _run(
    agent: Agent, session: Session, total_timesteps: int, is_profiled: bool, modules: tuple[str, ...] = ()
) -> None:
    """Trains, then reports where the run stands: at its end, or where a signal stopped it."""
    profile, words = Profile(), [str(session.directory.path), *(f"--import {module}" for module in modules)]
    path = " ".join(words)
    try:
        with profile if is_profiled else nullcontext():
            run_training(agent, total_timesteps, session=session)
    except (KeyboardInterrupt, SystemExit):
        saved = "saved" if session.saved_at == agent.timesteps else "NOT saved, the last checkpoint is older"
        print_line(f"stopped at {agent.timesteps:,} timesteps, {saved}; continue with: pgfast resume {path}")
        raise
    finally:
        if is_profiled:
            print_line(profile)
    if session.saved_at != agent.timesteps:
        raise OSError(
            f"the run reached its end, {agent.timesteps:,} timesteps, but could not be saved; once it can be, "
            f"continue from the last checkpoint with: pgfast resume {path}"
        )
    print_line(f"done: {agent.timesteps:,} timesteps; evaluate with: pgfast eval {path}")


def resume(
    run_dir: RunPath,
    /,
    total_timesteps: int | None = None,
    exact: bool = False,
    num_threads: int | None = None,
    profile: bool = False,
    modules: Imports = (),
) -> None:
    """Continue a run from its last checkpoint, with the settings it was started with.

    Args:
        total_timesteps: Length of the whole run in timesteps. None: the length it was started with.
        exact: Go back to the last checkpoint of a synchronization point, which continues bit for bit.
        num_threads: Threads of the kernels and of the Atari emulators. None: one for each CPU.
        profile: Print a time profile at the end.
    """
    if num_threads is not None:
        pgfast.set_num_threads(num_threads)
    import_typed(modules)
    agent, session = open_run(run_dir, exact=exact)
    total_timesteps = session.config.total_timesteps if total_timesteps is None else total_timesteps
    with session:
        _run(agent, session, total_timesteps, profile, modules)


def evaluate(
    path: SavedPath, /, episodes: int = 30, deterministic: Switch = False, seed: int = 0, modules: Imports = ()
) -> None:
    """Run whole episodes with a trained agent and report their raw returns.

    Args:
        episodes: Episodes to run; each environment runs a fixed part of them.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episodes and of the sampled actions.
    """
    import_typed(modules)
    agent = load(path)
    result = agent.evaluate(episodes, deterministic=deterministic, seed=seed)
    kind = "deterministic" if deterministic else "stochastic"
    count = f"{episodes} whole episode{'s' if episodes > 1 else ''}"
    print(f"{agent.name} on {agent.env_id}: {count}, {kind} policy, seed {seed}")
    print(
        f"return {result.return_mean:.1f} +- {result.return_std:.1f}"
        f" (min {result.returns.min():.1f}, median {np.median(result.returns):.1f}, max {result.returns.max():.1f}),"
        f" length {result.lengths.mean():.0f}"
    )
    if result.cut:
        print(f"{result.cut} of them did not end, and were cut off at {result.lengths.max():,} steps")


def video(
    path: SavedPath, /, out: Path | None = None, deterministic: Switch = False, seed: int = 0, modules: Imports = ()
) -> None:
    """Record one episode of a trained agent as an MP4. TensorBoard shows the first ten seconds of one of a run.

    Args:
        out: The file to write. None: videos/ENV-SEED.mp4 in the run directory, or ENV-SEED.mp4 here.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episode and of the sampled actions.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no screen to draw, and complains if there is none
    import_typed(modules)
    agent = load(path)
    is_of_run = out is None and (path / "config.json").exists()
    if out is None:
        name = f"{str(agent.env_id).replace('/', '_')}-{seed}.mp4"
        out = path / "videos" / name if is_of_run else Path(name)
    result = record_video(agent, out, seed=seed, deterministic=deterministic)
    if is_of_run:
        write_video(out.parent, out.stem, make_gif(out), agent.timesteps)
    print(f"{out}: return {result.episode_return:g}, {result.frames:,} frames")


def plot(
    run_dirs: RunPaths,
    /,
    out: Path = Path("learning_curve.png"),
    title: str | None = None,
    x: Literal["timesteps", "wall_time", "updates", "episodes"] = "timesteps",
    y: str = "return_mean",
) -> None:
    """Draw the learning curves of one or several runs.

    Args:
        out: The picture to write.
        title: Title of the picture.
        x: Column of the horizontal axis.
        y: Column of progress.csv to draw, one of a callback included.
    """
    if not run_dirs:
        raise UsageError("plot needs at least one run directory")
    plot_runs(run_dirs, out, title=title, x=x, y=y)
    print(out)


def verify(path: SavedPath, /) -> None:
    """Check a run, a checkpoint or a model file without executing anything in it."""
    agent = verify_path(path)
    print(f"{path}: whole; {agent.name} on {agent.env_id} at {agent.timesteps:,} timesteps, all parameters finite")


def list_presets() -> None:
    """List the algorithms and their presets by environment."""
    for algo in ALGORITHMS:
        print(algo)
        names: dict[str, list[str]] = {}
        for name, table in presets(algo).items():
            for env_id in table:
                names.setdefault("every Atari game" if env_id == "atari" else env_id, []).append(name)
        for env_id, of_env in sorted(names.items()):
            print(f"  {env_id:24s} presets: {', '.join(of_env)}")
    print("Every other environment that is registered with Gymnasium works too, with the defaults or your settings.")


def info() -> None:
    """Show versions, the instruction set in use and the threads of a training."""
    native = pgfast.native_info()
    threads = native["num_threads"]
    print(f"pgfast {pgfast.__version__}")
    print(f"instruction set: {native['isa']} (this CPU supports {', '.join(native['supported'])})")
    print(f"compiled with: {native['compiler']}, Eigen {native['eigen']}")
    print(f"threads of the kernels: {threads} (of {os.cpu_count()} CPUs)")
    emulators = min(threads, os.cpu_count() or threads)  # ale-py makes no more
    print(f"threads of an Atari emulator: {emulators}, which run while those of the kernels wait")


COMMANDS: dict[str, Callable[..., None]] = {
    "resume": resume,
    "eval": evaluate,
    "video": video,
    "plot": plot,
    "verify": verify,
    "list": list_presets,
    "info": info,
}
