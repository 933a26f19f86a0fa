"""The command line: ``pgfast COMMAND ...``."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.extras import SubcommandApp

import pgfast
from pgfast.agent import ALGORITHMS, Agent
from pgfast.learning.bounds import Bounded, Count, bounds, documentation, field_types
from pgfast.learning.presets import preset_names, preset_timesteps, presets, resolve_settings
from pgfast.learning.settings import RunSettings, Settings, setting_groups
from pgfast.loading import load
from pgfast.loading import verify as verify_path
from pgfast.profiling import Profile
from pgfast.reporting.plots import plot_runs
from pgfast.reporting.progress import print_line
from pgfast.reporting.video import record_video
from pgfast.resuming import resume as resume_run
from pgfast.runs.files import CheckpointError
from pgfast.runs.session import Session
from pgfast.training.loop import create_session
from pgfast.training.loop import train as run_training

__all__ = ["main"]


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
    num_threads: Count | None = None
    """Threads of the kernels and of the Atari emulators. None: one for each CPU."""
    profile: bool = False
    """Print a time profile at the end."""


def _train_app(args: list[str]) -> SubcommandApp:
    """``pgfast train``, with a subcommand for each algorithm."""
    app = SubcommandApp()
    for algo, algorithm in ALGORITHMS.items():
        summary = (algorithm.__doc__ or "").splitlines()[0]
        is_chosen = args[:2] == ["train", algo]
        app.command(name=algo, help=summary)(_train_command(algo, args[2:]) if is_chosen else _not_chosen)
    return app


def _with_algorithm_first(args: list[str]) -> list[str]:
    """Moves the algorithm in front of the flags, where a subcommand has to be."""
    place = next((index for index, arg in enumerate(args) if arg in ALGORITHMS), 1)
    return [args[0], *args[place : place + 1], *args[1:place], *args[place + 1 :]]


def _with_help_first(args: list[str]) -> list[str]:
    """Moves the request for help in front of the positional arguments, which tyro would take as known, and hide."""
    words = [arg for arg in args if arg not in ("-h", "--help")]
    commands = 2 if words[:1] == ["train"] and words[1:2] and words[1] in ALGORITHMS else 1
    return [*words[:commands], "--help", *words[commands:]]


def _not_chosen() -> None:
    """An algorithm that the command line does not name: its flags are not needed, and take time to build."""


def _train_command(algo: str, args: list[str]) -> Callable[..., None]:
    """The command of an algorithm, whose flags have the values of the preset as defaults.

    The preset depends on the environment and on a flag: so the arguments are parsed twice, the first time for these.
    """
    settings = ALGORITHMS[algo].learner_type.settings_type()
    options = RunOptions(total_timesteps=preset_timesteps(algo, None, None))
    first_pass: Any = make_dataclass(
        "Train", [("env", EnvId, field(default="")), ("flags", _flags(settings, options))], kw_only=True
    )
    known = [arg for arg in args if arg not in ("-h", "--help")]
    found: Any = tyro.cli(first_pass, prog=f"pgfast train {algo}", args=known, add_help=False, return_unknown_args=True)
    env_id, preset = found[0].env, found[0].flags.run.preset
    if env_id:
        settings = resolve_settings(type(settings), algo, env_id, preset, {})
        options = RunOptions(total_timesteps=preset_timesteps(algo, env_id, preset))

    def command(env: str, flags: Any) -> None:
        values = {name: value for group in vars(flags).values() for name, value in vars(group).items()}
        options = RunOptions(**{field.name: values.pop(field.name) for field in fields(RunOptions)})
        train(algo, env, options, values)

    command.__annotations__ = {"env": EnvId, "flags": _flags(settings, options)}
    return command


def _flags(settings: Settings, options: RunOptions) -> Any:
    """A dataclass with a dataclass of flags for each group of settings, whose defaults are the values given."""
    groups = setting_groups(type(settings))
    flags = {group: _group(settings, names) for group, names in groups.items()}
    flags[RunSettings.group] = _group(options, [field.name for field in fields(options)]) + flags[RunSettings.group]
    made = {group: make_dataclass(group, members, kw_only=True) for group, members in flags.items()}
    nested = make_dataclass("Flags", [(group, kind, field(default_factory=kind)) for group, kind in made.items()])
    # The name of a flag is --num-envs, not --flags.environment.num-envs.
    return _annotated(nested, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name=""))


def _group(values: Bounded, names: list[str]) -> list[tuple[str, Any, Any]]:
    kinds, documented = field_types(type(values)), documentation(type(values))

    def flag(name: str) -> tuple[str, Any, Any]:
        range_ = bounds(kinds[name])

        def hint(default: str) -> str:
            return f"({range_}; default: {default})" if range_ else f"(default: {default})"

        argument = tyro.conf.arg(help=documented[name], help_behavior_hint=hint)
        return name, _annotated(kinds[name], argument), field(default=getattr(values, name))

    return [flag(name) for name in names]


def _annotated(kind: Any, *markers: object) -> Any:
    """``Annotated[kind, *markers]`` of a type that is made at run time."""
    return Annotated.__class_getitem__((kind, *markers))  # type: ignore[attr-defined]


def train(algo: str, env_id: str, options: RunOptions, settings: dict[str, Any]) -> None:
    """Trains an agent in a new run directory."""
    if options.num_threads is not None:
        pgfast.set_num_threads(options.num_threads)
    agent = ALGORITHMS[algo](env_id, preset=None, **settings)
    agent.preset = options.preset
    with create_session(agent, options.run_dir, options.total_timesteps, options.preset) as session:
        is_tuned = options.preset in preset_names(algo, env_id)
        head = [f"{algo} on {env_id}, " + (f"preset {options.preset}" if is_tuned else "no preset: the defaults")]
        for group, names in setting_groups(type(agent.settings)).items():
            head.append(_show_settings(group, {name: getattr(agent.settings, name) for name in names}))
        print_line("\n".join([*head, f"run directory: {session.directory.path}"]))
        _run(agent, session, options.total_timesteps, options.profile)


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


def _run(agent: Agent, session: Session, total_timesteps: int, is_profiled: bool) -> None:
    """Trains, then reports where the run stands: at its end, or where a signal stopped it."""
    path, profile = session.directory.path, Profile()
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
    agent, session = resume_run(run_dir, exact=exact)
    with session:
        _run(agent, session, session.config.total_timesteps if total_timesteps is None else total_timesteps, profile)


def _refuse_settings(flags: list[str]) -> None:
    """A run with other settings would be another run."""
    kinds = [algorithm.learner_type.settings_type for algorithm in ALGORITHMS.values()]
    settings = {field.name for kind in kinds for field in fields(kind)}
    for flag in flags:
        name = flag.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
        if flag.startswith("--") and name in settings:
            raise UsageError(
                f"resume continues with the settings that the run was started with, {name} included; it takes only "
                "--total-timesteps, --exact, --num-threads and --profile. To train the model with other settings, "
                "start a new run with --init-from RUN_DIR"
            )


def evaluate(path: SavedPath, /, episodes: int = 30, deterministic: Switch = False, seed: int = 0) -> None:
    """Run whole episodes with a trained agent and report their raw returns.

    Args:
        episodes: Episodes to run; each environment runs a fixed part of them.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episodes and of the sampled actions.
    """
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


def video(path: SavedPath, /, out: Path | None = None, deterministic: Switch = False, seed: int = 0) -> None:
    """Record one episode of a trained agent as an MP4.

    Args:
        out: The file to write. None: videos/ENV-SEED.mp4 in the run directory, or ENV-SEED.mp4 here.
        deterministic: Take the most probable action instead of sampling.
        seed: Seed of the episode and of the sampled actions.
    """
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame needs no screen to draw, and complains if there is none
    agent = load(path)
    if out is None:
        name = f"{str(agent.env_id).replace('/', '_')}-{seed}.mp4"
        out = path / "videos" / name if (path / "config.json").exists() else Path(name)
    result = record_video(agent, out, seed=seed, deterministic=deterministic)
    print(f"{out}: return {result.episode_return:g}, {result.frames:,} frames")


def plot(run_dirs: RunPaths, /, out: Path = Path("learning_curve.png"), title: str | None = None) -> None:
    """Draw the learning curves of one or several runs.

    Args:
        out: The picture to write.
        title: Title of the picture.
    """
    if not run_dirs:
        raise UsageError("plot needs at least one run directory")
    plot_runs(run_dirs, out, title=title)
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


def _app(args: list[str]) -> SubcommandApp:
    app = SubcommandApp()
    app.command(
        _train_app(args),
        name="train",
        help='Train an agent; "pgfast train ALGO ENV --help" lists every setting.',
    )
    for name, command in COMMANDS.items():
        app.command(name=name)(command)
    return app


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status. An error that a user can cause is one sentence on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    if "--help" in args or "-h" in args:
        args = _with_help_first(args)
    if args == ["--version"]:
        print(pgfast.__version__)
        return 0
    if args[:1] == ["train"]:
        args = _with_algorithm_first(args)
    try:
        if args[:1] == ["resume"]:
            _refuse_settings(args[1:])
        _app(args).cli(prog="pgfast", description="Fast policy gradients on the CPU.", args=args)
    except UsageError as error:
        print(f"pgfast: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of "pgfast list | head -1" has all it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CheckpointError, ValueError, TypeError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        print(f"pgfast: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
