"""Profiles of where training time goes."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import pgfast
from pgfast import cli
from pgfast.profiling import BACKWARD, FORWARD, LINE_SEARCH, PARTS, Profile


def test_time_counts_for_the_innermost_part_and_parts_sum_to_the_total() -> None:
    with Profile() as profile:
        with FORWARD:
            time.sleep(0.03)
            with BACKWARD:
                time.sleep(0.06)
            time.sleep(0.03)
        time.sleep(0.02)
    assert set(profile.seconds) == {"forward", "backward", "Python"}
    assert 0.06 <= profile.seconds["forward"] < 0.5
    assert 0.06 <= profile.seconds["backward"] < 0.5
    assert 0.02 <= profile.seconds["Python"] < 0.5
    assert sum(profile.seconds.values()) == pytest.approx(profile.wall_time, abs=1e-6)
    assert profile.cpu_time < profile.wall_time  # it slept
    assert profile.busy < 1.0


def test_a_whole_part_includes_the_parts_inside_it() -> None:
    with Profile() as profile:
        with LINE_SEARCH:
            with FORWARD:
                time.sleep(0.03)
            with BACKWARD, FORWARD:
                time.sleep(0.03)
        with FORWARD:
            time.sleep(0.02)
    assert set(profile.seconds) == {"line search", "forward", "Python"}
    assert profile.seconds["line search"] >= 0.06
    assert profile.seconds["forward"] >= 0.02


def test_an_exception_ends_its_part() -> None:
    with Profile() as profile:
        with pytest.raises(KeyError), FORWARD, BACKWARD:
            raise KeyError
        time.sleep(0.02)
    assert profile.seconds["Python"] >= 0.02


def test_a_profile_may_be_continued() -> None:
    profile = Profile()
    for _ in range(2):
        with profile, FORWARD:
            time.sleep(0.02)
    assert profile.seconds["forward"] >= 0.04
    assert sum(profile.seconds.values()) == pytest.approx(profile.wall_time, abs=1e-6)


def test_a_second_profile_at_the_same_time_is_refused() -> None:
    with Profile(), pytest.raises(RuntimeError, match="another profile is being measured"), Profile():
        pass
    with FORWARD:  # no profile is being measured
        pass


def test_other_threads_are_not_measured() -> None:
    def work() -> None:
        with BACKWARD:
            time.sleep(0.03)

    with Profile() as profile, FORWARD:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert "backward" not in profile.seconds
    assert profile.seconds["forward"] >= 0.03


@pytest.mark.parametrize(
    ("algo", "parts"),
    [
        ("a2c", {"backward", "optimizer"}),
        ("ppo", {"backward", "optimizer"}),
        ("vpg", {"backward", "optimizer", "value fit"}),
        ("npg", {"backward", "natural gradient", "line search", "value fit"}),
        ("trpo", {"backward", "natural gradient", "line search", "value fit"}),
    ],
)
def test_every_algorithm_enters_its_parts(algo: str, parts: set[str]) -> None:
    agent: Any = getattr(pgfast, algo.upper())("CartPole-v1", preset=None, num_envs=4, n_steps=32)
    with Profile() as profile:
        agent.learn(400)
    assert set(profile.seconds) == {"start", "environments", "forward", "reports", "Python"} | parts
    assert all(seconds > 0.0 for seconds in profile.seconds.values())
    lines = str(profile).splitlines()
    assert lines[0].startswith("where ")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        name for name in [*(part.name for part in PARTS), "Python"] if name in profile.seconds
    ]


def test_the_command_line_prints_the_profile(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "vpg", "CartPole-v1", "--total-timesteps", "600", "--run-dir", str(tmp_path / "run"), "--profile"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "where " in printed
    assert "  environments " in printed
    assert cli.main(["resume", str(tmp_path / "run"), "--total-timesteps", "3000", "--profile"]) == 0
    assert "  environments " in capsys.readouterr().out
