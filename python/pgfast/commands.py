"""The commands of the command line, apart from their parsing."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from msgspec import Meta

import pgfast
from pgfast.agent import Agent
from pgfast.algorithms import ALGORITHMS
from pgfast.flags import Imports, import_typed
from pgfast.learning.bounds import Bounded, Count
from pgfast.learning.presets import GENERAL, find_preset, presets
from pgfast.loading import load
from pgfast.loading import verify as verify_path
from pgfast.profiling import Profile
from pgfast.reporting.plots import plot_runs
from pgfast.reporting.progress import describe_duration, print_line
from pgfast.reporting.settings_table import settings_table, wrap
from pgfast.reporting.tensorboard import write_video
from pgfast.reporting.video import make_gif, record_video
from pgfast.resuming import open_run
from pgfast.runs.files import encode_json
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
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
RunPaths = Annotated[
    tyro.conf.Positional[tuple[Path, ...]],
    tyro.conf.arg(metavar="RUN_DIR...", help="Directories of the runs.", help_behavior_hint="(required)"),
]


@dataclass(frozen=True, kw_only=True)
class RunOptions(Bounded):
    """The options of ``pgfast train`` besides the settings of the algorithm."""

    total_timesteps: Count
    """Length of the run in timesteps, all environments together; the update that reaches it is the last."""
    preset: str = "default"
    """Tuned settings to start from, the defaults shown here: a name that "pgfast list" shows, or the id of a task."""
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
    quiet: bool = False
    """Print errors alone."""


def train(algo: str, env_id: str, options: RunOptions, settings: dict[str, Any]) -> None:
    """Trains an agent in a new run directory, or continues the run there if it may."""
    if options.num_threads is not None:
        pgfast.set_num_threads(options.num_threads)
    agent = ALGORITHMS[algo](env_id, preset=None, **settings)
    found = None if agent.source is None else find_preset(algo, agent.source, options.preset, settings)
    agent.preset = None if found is None else found.name
    with _open_session(agent, options) as session:
        path, width = session.directory.path, _width()
        if agent.timesteps < options.total_timesteps:
            if not options.quiet:
                lines = [wrap(agent.describe(), width), wrap(agent.describe_network(), width)]
                lines += [settings_table(agent.settings, width), f"run directory: {path}"]
                print_line("\n".join(filter(None, lines)))
            _run(
                agent,
                session,
                options.total_timesteps,
                options.modules,
                is_profiled=options.profile,
                is_quiet=options.quiet,
            )
        elif not options.quiet:
            print_line(f"{path} is complete at {agent.timesteps:,} timesteps")


def _open_session(agent: Agent, options: RunOptions) -> Session:
    path = options.run_dir
    if options.resume_if_exists:
        if path is None:
            path = RunDirectory.default_path(algo=agent.name, env_id=agent.env_id, seed=agent.settings.seed)
        if (path / "config.json").exists():
            return continue_session(agent, path)
    return create_session(agent, path, options.total_timesteps, agent.preset)


def _run(
    agent: Agent,
    session: Session,
    total_timesteps: int,
    modules: tuple[str, ...],
    *,
    is_profiled: bool,
    is_quiet: bool,
) -> None:
    """Trains, then reports where the run stands: at its end, or where a signal stopped it."""
    words = [shlex.quote(str(session.directory.path)), *(f"--import {module}" for module in modules)]
    path, profile = " ".join(words), Profile()
    began = time.perf_counter() - session.wall_time
    try:
        with profile if is_profiled else nullcontext():
            run_training(agent, total_timesteps, session=session, progress_bar=not is_quiet)
    except (KeyboardInterrupt, SystemExit):
        is_saved = session.saved_at == agent.timesteps
        saved = "saved" if is_saved else "NOT saved, the last checkpoint is older"
        text = _with_command(
            f"stopped at {agent.timesteps:,} timesteps, {saved}", f"continue with: pgfast resume {path}"
        )
        if not is_quiet:
            print_line(text)
        elif not is_saved:
            print(f"pgfast: {text}", file=sys.stderr)
        raise
    finally:
        if is_profiled:
            print_line(profile)
    if session.saved_at != agent.timesteps:
        raise OSError(
            f"the run reached its end, {agent.timesteps:,} timesteps, but could not be saved; once it can be, "
            f"continue from the last checkpoint with: pgfast resume {path}"
        )
    if not is_quiet:
        duration = describe_duration(time.perf_counter() - began)
        done = f"done: {agent.timesteps:,} timesteps in {duration}, {_describe_return(agent)}"
        print_line(_with_command(done, f"evaluate with: pgfast eval {path}"))


def _with_command(text: str, command: str) -> str:
    """One line, or two if the terminal would break the command, which is there to be pasted."""
    line = f"{text}; {command}"
    return line if len(line) <= _width() else f"{text}\n{command}"


def _describe_return(agent: Agent) -> str:
    returns = agent.sampler.statistics.returns
    return f"return {np.mean(returns):.1f} (last {len(returns)} episodes)" if returns else "no episode ended"


def resume(
    run_dir: RunPath,
    /,
    total_timesteps: Count | None = None,
    exact: bool = False,
    num_threads: Count | None = None,
    ray_address: str | None = None,
    profile: bool = False,
    quiet: Switch = False,
    modules: Imports = (),
) -> None:
    """Continue a run from its last checkpoint, with the settings it was started with.

    Args:
        total_timesteps: Length of the whole run in timesteps. None: the length it was started with.
        exact: Go back to the last checkpoint of a synchronization point, which continues bit for bit.
        num_threads: Threads of the kernels and of the Atari emulators. None: one for each CPU.
        ray_address: Ray cluster of the workers from now on, if there are several. None: that of the checkpoint.
        profile: Print a time profile at the end.
        quiet: Print errors alone.
    """
    if num_threads is not None:
        pgfast.set_num_threads(num_threads)
    import_typed(modules)
    agent, session = open_run(run_dir, exact=exact, ray_address=ray_address)
    total_timesteps = session.config.total_timesteps if total_timesteps is None else total_timesteps
    with session:
        _run(agent, session, total_timesteps, modules, is_profiled=profile, is_quiet=quiet)


def evaluate(
    path: SavedPath,
    /,
    episodes: Count = 30,
    deterministic: Switch = False,
    seed: Seed = 0,
    json: Switch = False,
    modules: Imports = (),
) -> None:
    """Run whole episodes with a trained agent and report their raw returns.

    Args:
        episodes: Episodes to run; each environment runs a fixed part of them.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episodes and of the sampled actions.
        json: Print one JSON object, which also has the return and the length of each episode.
    """
    with redirect_stdout(sys.stderr) if json else nullcontext():  # what environments print is no JSON
        import_typed(modules)
        agent = load(path)
        result = agent.evaluate(episodes, deterministic=deterministic, seed=seed)
    if json:
        _print_json(
            {
                **_identity(agent),
                "episodes": episodes,
                "episodes_cut": result.cut,
                "deterministic": deterministic,
                "seed": seed,
                "return_mean": result.return_mean,
                "return_std": result.return_std,
                "return_min": result.returns.min(),
                "return_median": np.median(result.returns),
                "return_max": result.returns.max(),
                "length_mean": result.lengths.mean(),
                "returns": result.returns.tolist(),
                "lengths": result.lengths.tolist(),
            }
        )
        return
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
    path: SavedPath, /, out: Path | None = None, deterministic: Switch = False, seed: Seed = 0, modules: Imports = ()
) -> None:
    """Record one episode of a trained agent as an MP4. TensorBoard shows the first ten seconds of one of a run.

    Args:
        out: The file to write. None: videos/ENV-SEED.mp4 in the run directory, or ENV-SEED.mp4 here.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episode and of the sampled actions.
    """
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


def verify(path: SavedPath, /, json: Switch = False) -> None:
    """Check a run, a checkpoint or a model file without executing anything in it.

    Args:
        json: Print one JSON object.
    """
    agent = verify_path(path)
    if json:
        _print_json({"path": str(path), "whole": True, **_identity(agent)})
        return
    print(f"{path}: whole; {agent.name} on {agent.env_id} at {agent.timesteps:,} timesteps, all parameters finite")


def list_presets(json: Switch = False) -> None:
    """List the algorithms and their presets by environment.

    Args:
        json: Print one JSON object; "atari" stands for every Atari game, and kinds of tasks have the preset "general".
    """
    found: dict[str, dict[str, list[str]]] = {algo: {} for algo in ALGORITHMS}
    for algo, names in found.items():
        for name, table in presets(algo).items():
            for env_id in table:
                names.setdefault(env_id, []).append(name)
    if json:
        _print_json({"presets": found})
        return
    for algo, names in found.items():
        print(algo)
        own = {env_id: of_env for env_id, of_env in names.items() if GENERAL not in of_env}
        shown = {"every Atari game" if env_id == "atari" else env_id: of_env for env_id, of_env in own.items()}
        for env_id, of_env in sorted(shown.items()):
            print(f"  {env_id:24s} presets: {', '.join(of_env)}")
    rest = (
        "Every other environment works too: the preset general has settings for its kind of observations and actions."
    )
    print(wrap(rest, _width()))


def info(json: Switch = False) -> None:
    """Show versions, the instruction set in use and the threads of a training.

    Args:
        json: Print one JSON object.
    """
    native = pgfast.native_info()
    threads, cpus = native["num_threads"], os.cpu_count()
    emulators = min(threads, cpus or threads)  # ale-py makes no more
    if json:
        _print_json(
            {
                "version": pgfast.__version__,
                "isa": native["isa"],
                "isa_supported": list(native["supported"]),
                "compiler": native["compiler"],
                "eigen": native["eigen"],
                "cpus": cpus,
                "kernel_threads": threads,
                "emulator_threads": emulators,
            }
        )
        return
    print(f"pgfast {pgfast.__version__}")
    print(f"instruction set: {native['isa']} (this CPU supports {', '.join(native['supported'])})")
    print(f"compiled with: {native['compiler']}, Eigen {native['eigen']}")
    print(f"threads of the kernels: {threads} (of {cpus} CPUs)")
    print(f"threads of an Atari emulator: {emulators}, which run while those of the kernels wait")


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _identity(agent: Agent) -> dict[str, Any]:
    return {"algo": agent.name, "env_id": agent.env_id, "timesteps": agent.timesteps}


def _print_json(value: dict[str, Any]) -> None:
    print(encode_json(value).decode(), end="")


COMMANDS: dict[str, Callable[..., None]] = {
    "resume": resume,
    "eval": evaluate,
    "video": video,
    "plot": plot,
    "verify": verify,
    "list": list_presets,
    "info": info,
}
