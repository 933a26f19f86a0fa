"""The arguments and the output of commands, run in this process; test_cli.py runs them as a user does."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgfast
from pgfast.cli import main
from pgfast.commands import _run
from pgfast.reporting.progress import describe_duration
from pgfast.resuming import open_run

TRAIN = ["train", "a2c", "CartPole-v1", "--run-dir", "run"]
SMALL = ["--num-envs", "2", "--n-steps", "5", "--hidden-sizes", "8", "--report-every", "100"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(*arguments) runs a command in an empty directory; returns (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run_command(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(list(arguments))
        except SystemExit as exit:  # of the parser
            code = int(exit.code or 0)
        return code, *capsys.readouterr()

    return run_command


def run_json(run: Run, *arguments: str) -> Any:
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_the_environment_may_stand_after_the_sizes_of_the_layers(run: Run) -> None:
    flags = ["--run-dir", "run", "--total-timesteps", "20", "--hidden-sizes", "16", "8", "CartPole-v1"]
    assert run("train", "a2c", *flags, "--num-envs", "2")[0] == 0
    settings = pgfast.load("run").settings
    assert (settings.hidden_sizes, settings.num_envs) == ((16, 8), 2)


def test_whole_numbers_may_be_written_as_floats(run: Run) -> None:
    flags = ["--num-envs", "4e0", "--sync-every", "1_000", "--checkpoint-every", "2e2", "--hidden-sizes", "1e1"]
    assert run(*TRAIN, *flags, "--total-timesteps", "1e2", "--seed", "9223372036854775807")[0] == 0
    settings = pgfast.load("run").settings
    assert (settings.num_envs, settings.sync_every, settings.checkpoint_every) == (4, 1000, 200)
    assert (settings.hidden_sizes, settings.seed) == ((10,), 2**63 - 1)
    assert run("resume", "run", "--total-timesteps", "2e2")[0] == 0
    assert run("eval", "run", "--episodes", "2.0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (
            ["train", "a2c", "CartPole-v1", "--total-timesteps", "1.5"],
            1,
            "total_timesteps must be an int of at least 1",
        ),
        (["train", "a2c", "CartPole-v1", "--total-timesteps", "nan"], 1, "of at least 1, got nan"),
        (["train", "a2c", "CartPole-v1", "--hidden-sizes", "8", "0.5"], 1, "each entry an int of at least 1"),
        (["train", "a2c", "CartPole-v1", "--n-steps", "many"], 2, "'many' is not a number"),
        (["train", "a2c", "CartPole-v1", "--gamma", "0.9"], 2, "a2c has no setting --gamma; did you mean --discount?"),
        (["train", "vpg", "CartPole-v1", "--lr=1e-3"], 2, "vpg has no setting --lr; did you mean --learning-rate?"),
        (["train", "a2c", "--n-envs", "8", "CartPole-v1"], 2, "did you mean --num-envs?"),
        (["train", "a2c", "CartPole-v1", "--no-norm-adv"], 2, "did you mean --normalize-advantages?"),
        (["eval", "run", "--episodes", "1.5"], 1, "episodes must be an int of at least 1, got 1.5"),
        (["video", "run", "--seed", "-1"], 1, "seed must be an int in [0, 2^63 - 1], got -1"),
        (["resume", "nothing", "--ray-address", "none"], 1, "nothing"),
        (["resume", "run", "--num-threads", "0.5"], 1, "num_threads must be an int of at least 1 or None, got 0.5"),
        (["plot"], 2, "plot needs at least one run directory"),
        (["trian"], 2, "Available subcommands: train, resume"),
        (["train"], 2, "Expected one of {vpg, npg, trpo, a2c, ppo, acktr}"),
        (["train", "a2c"], 2, "ENV"),
        (["train", "dqn", "CartPole-v1"], 2, "Available subcommands: vpg, npg, trpo, a2c"),
        (["train", "a2c", "My Grid-v0"], 1, "is not an environment id"),
        (["train", "a2c", "nosuchmodule:Grid-v0"], 1, "there is no module nosuchmodule"),
        (["train", "a2c", "os:Grid-v0"], 1, "the module os was imported, but it registers no environment Grid-v0"),
        (["train", "a2c", "CartPole-v1", "--env-kwargs", "size"], 2, '"size" is not KEY=VALUE'),
        (["train", "a2c", "CartPole-v1", "--env-kwargs", "size=3"], 1, "unexpected keyword argument 'size'"),
        (["train", "a2c", "Breakout-v4"], 1, "skips (2, 5) frames at random"),
        (["train", "a2c", "CartPole-v1", "--preset", "fast"], 1, 'no preset "fast"'),
        (["train", "a2c", "CartPole-v1", "--lerning-rate", "1"], 2, "--learning-rate"),
        (["train", "a2c", "CartPole-v1", "--n-steps", "0"], 1, "n_steps must be an int in [1, 2^24], got 0"),
        (["train", "a2c", "CartPole-v1", "--network", "origin_cnn"], 1, "needs an image, a Box with three axes"),
        (["train", "a2c", "CartPole-v1", "--run-dir", "."], 1, "exists"),
        (["train", "a2c", "CartPole-v1", "--run-dir", "file/run"], 1, "file"),
        (
            ["train", "a2c", "CartPole-v1", "--total-timesteps", "0"],
            1,
            "total_timesteps must be an int of at least 1, got 0",
        ),
        (
            ["resume", "run", "--learning-rate", "1"],
            2,
            "started with, learning_rate included; it takes only --total-timesteps",
        ),
        (["resume", "run", "--no-normalize-rewards"], 2, "started with, normalize_rewards included"),
        (["eval", "nothing"], 1, "nothing: there is no such file"),
        (["eval", "file"], 1, "file"),
        (["train", "a2c", "CartPole-v1", "--seed", "-1"], 1, "seed must be an int in [0, 2^63 - 1], got -1"),
        (["plot", "nothing"], 1, "nothing"),
        (["verify", "file"], 1, "file"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], code: int, text: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").write_text("not a model")
    monkeypatch.setenv("COLUMNS", "120")
    got, out, error = run(*arguments)
    assert (got, out) == (code, "")
    assert text in error
    assert len(error.strip().splitlines()) == 1 or not error.startswith("pgfast: ")  # the parser adds the flag's help


def test_the_help_of_plot_requires_a_run(run: Run) -> None:
    assert re.search(r"RUN_DIR\.\.\. +Directories of the runs\. \(required\)", run("plot", "--help")[1])


def test_the_head_is_a_table_of_what_differs_from_the_defaults(run: Run) -> None:
    flags = ["--total-timesteps", "20", "--seed", "7", "--hidden-sizes", "8", "--run-dir", "my run"]
    code, out, _ = run("train", "a2c", "CartPole-v1", *flags)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "a2c on CartPole-v1, preset default"
    table = {tuple(line.split()) for line in lines[1 : lines.index("run directory: my run")]}
    assert {("setting", "value", "default"), ("seed", "7", "0"), ("learning_rate", "0.0007", "0.001")} < table
    assert ("hidden_sizes", "8", "64", "64") in table
    assert not [row for row in table if row[0] in ("discount", "num_envs", "network")]  # at their defaults


@pytest.mark.parametrize("columns", [25, 40])
def test_the_head_is_broken_between_words_on_a_narrow_terminal(
    columns: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run(*TRAIN, "--total-timesteps", "20")
    head = out[: out.index("run directory")]
    assert max(map(len, head.splitlines())) <= columns
    assert {"learning_rate", "0.0007", "(default:", "0.001)"} <= set(
        head.split()
    ) or "learning_rate  0.0007  0.001" in head


@pytest.mark.parametrize(("columns", "between"), [(120, "; "), (80, "\n")])
def test_a_run_ends_with_time_score_and_a_command(
    columns: int, between: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run("train", "a2c", "CartPole-v1", "--total-timesteps", "200", "--run-dir", "it's mine")
    text, command = out[out.index("done: ") :].split(f"{between}evaluate with: ")
    assert re.fullmatch(r"done: 256 timesteps in \d+ s, return [\d.]+ \(last \d+ episodes\)", text)
    assert shlex.split(command) == ["pgfast", "eval", "it's mine"]


def test_the_time_of_a_resumed_run_is_that_of_the_whole_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*TRAIN, *SMALL, "--total-timesteps", "200")[0] == 0
    agent, session = open_run(Path("run"))
    session.wall_time += 7200.0
    with session:
        _run(agent, session, 400, (), is_profiled=False, is_quiet=False)
    assert re.search("done: 400 timesteps in 2 h 0 min, return", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3600, "1 h 0 min"), (1e5, "27 h 46 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


def test_quiet_prints_errors_alone(run: Run) -> None:
    assert run(*TRAIN, *SMALL, "--total-timesteps", "400", "--quiet") == (0, "", "")
    assert run("resume", "run", "--total-timesteps", "800", "--quiet") == (0, "", "")
    code, out, error = run("resume", "run", "--quiet", "--total-timesteps", "800")
    assert (code, out) == (1, "")
    assert "complete at 800 timesteps" in error


def test_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(*TRAIN, *SMALL, "--total-timesteps", "400", "--quiet")[0] == 0
    reset = pgfast.A2C.evaluate

    def evaluate_loudly(*arguments: Any, **options: Any) -> Any:
        print("an environment prints this")
        return reset(*arguments, **options)

    monkeypatch.setattr(pgfast.A2C, "evaluate", evaluate_loudly)
    result = run_json(run, "eval", "run", "--episodes", "3")
    identity = {"algo": "a2c", "env_id": "CartPole-v1", "timesteps": 400}
    assert identity.items() <= result.items()
    assert (result["episodes"], result["episodes_cut"], result["deterministic"], result["seed"]) == (3, 0, False, 0)
    assert len(result["returns"]) == len(result["lengths"]) == 3
    assert min(result["returns"]) == result["return_min"] <= result["return_median"] <= result["return_max"]
    assert result["return_mean"] == pytest.approx(sum(result["returns"]) / 3)
    assert run_json(run, "verify", "run") == {"path": "run", "whole": True, **identity}
    assert run_json(run, "list")["presets"]["a2c"]["atari"] == ["default"]
    found, native = run_json(run, "info"), pgfast.native_info()
    assert (found["version"], found["kernel_threads"]) == (pgfast.__version__, native["num_threads"])
    code, out, error = run("verify", "nothing", "--json")
    assert (code, out) == (1, "")
    assert "there is no such file" in error


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_of_tab_completion_knows_every_flag(shell: str, run: Run) -> None:
    code, out, error = run("--tyro-print-completion", shell)
    assert (code, error) == (0, "")
    flags = ("resume", "--json", "--value-coef", "--max-kl", "--total-timesteps", "--baseline")
    assert all(flag in out for flag in flags)
    assert run("--tyro-write-completion", shell, "script")[0] == 0
    assert all(flag in Path("script").read_text() for flag in flags)


def test_bash_completes_settings_and_their_values(run: Run) -> None:
    Path("script").write_text(run("--tyro-print-completion", "bash")[1])
    program = """
source ./script
COMP_WORDS=(pgfast train a2c CartPole-v1 "$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
_tyro_pgfast; echo "${COMPREPLY[@]}"
"""
    for words, expected in ((["--num-e"], "--num-envs\n"), (["--optimizer", "rms"], "rmsprop\n")):
        done = subprocess.run(["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True)
        assert done.stdout == expected


def test_too_many_open_files_have_a_cure(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 4096))

    command = [sys.executable, "-m", "pgfast", *TRAIN, "--vectorization", "async", "--num-envs", "64"]
    done = subprocess.run(
        [*command, "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "PGFAST_NUM_THREADS": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "Too many open files; use fewer environments or raise the limit of 40 with: ulimit -n 4096\n"
    assert (done.returncode, done.stderr) == (1, f"pgfast: [Errno 24] {expected}")
