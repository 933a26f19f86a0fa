"""The command line: ``pgfast COMMAND ...``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any

import tyro
from tyro.extras import SubcommandApp

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.commands import COMMANDS, EnvId, RunOptions, UsageError, train
from pgfast.envs.failures import with_cure
from pgfast.envs.source import EnvironmentSource
from pgfast.flags import KEYWORDS, Imports, flag_type, import_typed, typed_id
from pgfast.learning.bounds import Bounded, Count, bounds, documentation, field_types
from pgfast.learning.presets import DEFAULT_TIMESTEPS, find_preset, resolve_settings
from pgfast.learning.settings import RunSettings, Settings, setting_groups
from pgfast.parsing import NUMBERS, asks_for_completion, checked, find_misnamed, setting_of, with_environment_first
from pgfast.runs.files import CheckpointError

__all__ = ["main"]

_VARIADIC = [name for name, kind in field_types(Settings).items() if kind == tuple[Count, ...]]


def _train_app(args: list[str]) -> SubcommandApp:
    """``pgfast train``, with a subcommand for each algorithm."""
    app = SubcommandApp()
    for algo, algorithm in ALGORITHMS.items():
        summary = (vars(algorithm)["__doc__"] or "").splitlines()[0]  # algorithm.__doc__ takes time to make
        command = _not_chosen
        if args[:2] == ["train", algo]:
            command = _train_command(algo, args[2:])
        elif asks_for_completion(args):
            command = _train_command(algo, [])
        app.command(name=algo, help=summary)(command)
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

    The preset depends on the environment and on some flags, so the arguments are parsed twice, first for these.
    """
    settings = ALGORITHMS[algo].learner_type.settings_type()
    options = RunOptions(total_timesteps=DEFAULT_TIMESTEPS)
    first_pass: Any = make_dataclass(
        "Train", [("env", EnvId, field(default="")), ("flags", _flags(settings, options))], kw_only=True
    )
    known = [arg for arg in args if arg not in ("-h", "--help")]
    found: Any = tyro.cli(
        first_pass,
        prog=f"pgfast train {algo}",
        args=known,
        add_help=False,
        return_unknown_args=True,
        registry=NUMBERS,
    )
    if found[0].env:
        values = _values(found[0].flags)
        import_typed(values["modules"])
        env_id, _ = typed_id(found[0].env)
        source = EnvironmentSource(env_id, values["env_kwargs"] or {})
        preset = find_preset(algo, source, values["preset"], values)
        settings = resolve_settings(type(settings), preset, {})
        if preset is not None:
            options = RunOptions(total_timesteps=preset.total_timesteps)

    def command(env: str, flags: Any) -> None:
        values = _values(flags)
        env_id, modules = typed_id(env)
        values["modules"] += modules
        options = RunOptions(**{field.name: values.pop(field.name) for field in fields(RunOptions)})
        train(algo, env_id, options, values)

    command.__annotations__ = {"env": EnvId, "flags": _flags(settings, options)}
    return command


def _values(flags: Any) -> dict[str, Any]:
    """The values of the flags of all groups, by name."""
    return {name: value for group in vars(flags).values() for name, value in vars(group).items()}


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

        if name == "modules":
            return name, Imports, field(default=())
        argument = tyro.conf.arg(help=documented[name], help_behavior_hint=hint)
        markers = [KEYWORDS] if name == "env_kwargs" else []
        return name, _annotated(flag_type(kinds[name]), argument, *markers), field(default=getattr(values, name))

    return [flag(name) for name in names]


def _annotated(kind: Any, *markers: object) -> Any:
    """``Annotated[kind, *markers]`` of a type that is made at run time."""
    return Annotated.__class_getitem__((kind, *markers))  # type: ignore[attr-defined]


def _refuse_settings(flags: list[str]) -> None:
    """A run with other settings would be another run."""
    kinds = [algorithm.learner_type.settings_type for algorithm in ALGORITHMS.values()]
    settings = {field.name for kind in kinds for field in fields(kind)} - {"ray_address"}
    for flag in flags:
        name = setting_of(flag)
        if name in settings:
            raise UsageError(
                f"resume continues with the settings that the run was started with, {name} included; it takes only "
                "--total-timesteps, --exact, --num-threads, --ray-address, --profile, --quiet and --import. To train "
                "the model with other settings, start a new run with --init-from RUN_DIR"
            )


def _refuse_misnamed(algo: str, args: list[str]) -> None:
    """Answers a flag by which another library, or nobody, calls a setting."""
    known = [field.name for kind in (ALGORITHMS[algo].learner_type.settings_type, RunOptions) for field in fields(kind)]
    if misnamed := find_misnamed(args, [*known, "help", "import"]):
        name, close = (word.replace("_", "-") for word in misnamed)
        raise UsageError(f"{algo} has no setting --{name}; did you mean --{close}?")


def _app(args: list[str]) -> SubcommandApp:
    app = SubcommandApp()
    app.command(
        _train_app(args),
        name="train",
        help='Train an agent; "pgfast train ALGO ENV --help" lists every setting.',
    )
    for name, command in COMMANDS.items():
        app.command(name=name)(checked(command))
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
        args = with_environment_first(_with_algorithm_first(args), _VARIADIC)
    try:
        if args[:1] == ["train"] and args[1:2] and args[1] in ALGORITHMS:
            _refuse_misnamed(args[1], args[2:])
        if args[:1] == ["resume"]:
            _refuse_settings(args[1:])
        _app(args).cli(prog="pgfast", description="Fast policy gradients on the CPU.", args=args, registry=NUMBERS)
    except UsageError as error:
        print(f"pgfast: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of "pgfast list | head -1" has all it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (CheckpointError, ValueError, TypeError, OSError, ImportError, FloatingPointError, RuntimeError) as error:
        print(f"pgfast: {with_cure(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
