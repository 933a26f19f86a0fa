"""Progress: plain lines in a pipe, one live line on a terminal, nothing if it is disabled."""

from __future__ import annotations

import builtins
import os
import pty
import re
import subprocess
import sys
import timeit
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

import pgfast
from pgfast.reporting import progress
from pgfast.reporting.progress import make_reporter

ROW = {"timesteps": 5000, "return_mean": 12.34, "return_max": 21.0, "policy_loss": -0.01236, "entropy": None}
LIVE = """
import sys
from pgfast.reporting import progress
reporter = progress.make_reporter(1_000_000, 250_000, enabled=True)
progress._LiveReporter.interval = 0.0
reporter.message("resumed [/b] \\u00e9")
for timesteps in (250_000, 300_000, 500_000):
    reporter.update(timesteps, {"return_mean": 12.34, "return_max": 21.0} if timesteps == 300_000 else None)
print("a line from elsewhere")
reporter.update(1_000_000, None)
reporter.close()
reporter.close()
reporter.update(1_000_000, None)
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces the time of the reporters by clock[0]."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def run_on_terminal(code: str, columns: int, **variables: str) -> str:
    """Returns the output of the code on a pseudo-terminal."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    output = b""
    while True:
        try:
            data = os.read(controller, 65536)
        except OSError:  # Linux reports a closed other end in this way
            break
        if not data:
            break
        output += data
    os.close(controller)
    assert process.wait(timeout=30) == 0, output.decode()
    return output.decode()


def test_a_pipe_gets_a_line_for_each_row(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with closing(make_reporter(10_000, 1000, enabled=True)) as reporter:
        reporter.message("resuming")
        clock[0] += 2.0
        reporter.update(4000, None)
        reporter.update(5000, ROW)
        clock[0] += 1.0
        reporter.update(10_000, {"return_mean": None, "value_loss": 0.5, "kl": float("nan")})
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.splitlines() == [
        "resuming",
        " 5,000 / 10,000  return 12.3 (max 21)  2,000 steps/s  ETA 0:00:03  policy_loss -0.01236",
        "10,000 / 10,000  return -  3,000 steps/s  ETA 0:00:00  value_loss 0.5",
    ]


def test_the_speed_is_averaged_over_the_last_seconds(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    reporter = make_reporter(1_000_000, 0, enabled=True)
    for second in range(1, 101):
        clock[0] += 1.0
        reporter.update(second * 10 if second <= 50 else 500 + (second - 50) * 1000, {})
    assert "50,500 / 1,000,000  return -  1,000 steps/s  ETA 0:15:50" in capsys.readouterr().out


def test_a_disabled_reporter_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(make_reporter(10_000, 0, enabled=False)) as reporter:
        reporter.message("text")
        reporter.update(5000, ROW)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.1, "0:01:00"), (3599, "0:59:59"), (86399, "23:59:59"), (10**15, "277777777777:46:40")],
)
def test_the_remaining_time(seconds: float, text: str, capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    reporter = make_reporter(round(10 * seconds) + 10, 0, enabled=True)
    clock[0] += 1.0
    reporter.update(10, {})
    assert f"  10 steps/s  ETA {text}\n" in capsys.readouterr().out


def test_the_remaining_time_is_unknown_at_first(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    make_reporter(100, 0, enabled=True).update(0, {})
    assert capsys.readouterr().out == "  0 / 100  return -  0 steps/s  ETA -:--:--\n"


@pytest.mark.parametrize(
    ("timesteps", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (99_999, "99.9k"), (999_999, "999k"), (10**7, "10.0M"), (10**9, "1.00G")],
)
def test_compact_numbers(timesteps: int, text: str) -> None:
    assert progress._compact(timesteps) == text


@pytest.mark.parametrize(("columns", "shortest"), [(90, 4), (140, 40)])
def test_a_terminal_gets_one_live_line(columns: int, shortest: int) -> None:
    output = run_on_terminal(LIVE, columns)
    lines = output.replace("\x1b[2K", "\r").split("\n")
    assert "resumed [/b] \u00e9" in output
    assert any(line.rstrip("\r").endswith("a line from elsewhere") for line in lines)
    last = lines[-2].rstrip("\r").split("\r")[-1]
    assert "100 %" in last
    assert "1.00M / 1.00M" in last
    assert "return 12.3 (max 21)" in last
    assert "ETA 0:00:00" in last
    assert shortest <= last.count("\u2501") <= 40
    assert len(re.sub(r"\x1b\[[0-9;]*m", "", last).rstrip()) <= columns - 3  # room for a typed ^C
    assert " 25 %" in output
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")  # the cursor is shown


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (200, "1.00M / 1.00M  return 12.3 (max 21)  {speed} steps/s  ETA 0:00:00"),
        (59, "1.00M / 1.00M  return 12.3 (max 21)  ETA 0:00:00"),
        (42, "return 12.3 (max 21)  ETA 0:00:00"),
        (40, "return 12.3  ETA 0:00:00"),
        (20, "return 12.3"),
        (10, ""),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(columns: int, shown: str) -> None:
    output = run_on_terminal(LIVE, columns)
    last = re.sub(r"\x1b\[[0-9;]*m", "", output.replace("\x1b[2K", "\r").split("\n")[-2].rstrip("\r").split("\r")[-1])
    pattern = re.escape(shown).replace(re.escape("{speed}"), r"[\d,]+")
    assert re.fullmatch(rf"100 % (\u2501+ )?{pattern} *", last)
    assert len(last.rstrip()) < columns


def test_a_line_that_a_resize_has_wrapped_is_erased() -> None:
    resize = 'fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("4H", 24, {columns}, 0, 0))'
    code = "\n".join(
        [
            "import fcntl, os, struct, termios",
            'del os.environ["COLUMNS"]',
            resize.format(columns=70),
            LIVE.replace("reporter.update(1_000", f"{resize.format(columns=20)}\nreporter.update(1_000", 1),
        ]
    )
    output = run_on_terminal(code, 70)
    kept, end = re.split(r"\x1b\[[23]A\r\x1b\[J", output)  # up to 67 columns are 3 or 4 rows of 20
    assert "a line from elsewhere" in kept
    assert "100 % return 12.3" in end


def test_a_notebook_gets_one_live_line(
    capsys: pytest.CaptureFixture[str], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = type("ZMQInteractiveShell", (), {})()  # the class by which notebooks are known
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    with closing(make_reporter(10_000, 0, enabled=True)) as reporter:
        reporter.message("a message")
        clock[0] += 1.0
        reporter.update(5000, ROW)
        reporter.update(5001, None)  # too soon
        clock[0] += 1.0
        reporter.update(10_000, None)
    output = capsys.readouterr()
    assert output.err == ""
    begin, rest, end = output.out.split("\n")
    assert begin.split("\r")[-1].rstrip() == "a message"
    assert end == ""
    drawn = [text.rstrip() for text in rest.split("\r")]
    assert drawn[2:-1] == [
        " 50 %  5.00k / 10.0k  return 12.3 (max 21)  5,000 steps/s  ETA 0:00:01",
        "100 %  10.0k / 10.0k  return 12.3 (max 21)  5,000 steps/s  ETA 0:00:00",
    ]
    assert all(len(later) >= len(earlier) for earlier, later in pairwise(rest.split("\r")[1:]))  # covers the one before


def test_the_progress_line_of_trpo_shows_the_improvement(capsys: pytest.CaptureFixture[str]) -> None:
    pgfast.TRPO("CartPole-v1", n_steps=32, num_envs=4, report_every=100).learn(200, progress_bar=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if " / 200" in line]
    assert all(re.search(r" kl [\d.e-]+  improvement [\d.e-]+$", line) for line in lines)
    assert not [line for line in lines if "policy_loss" in line]


def test_a_dumb_terminal_gets_plain_lines() -> None:
    output = run_on_terminal(LIVE, 80, TERM="dumb")
    assert "\x1b" not in output
    assert "300,000 / 1,000,000  return 12.3 (max 21)" in output


def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from pgfast.reporting.progress import make_reporter
reporter = make_reporter(10**6, 0, enabled=True)
for n in range(20_000):
    reporter.update(n, {{}})
Path({str(tmp_path / "end")!r}).touch()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 0
    assert (tmp_path / "end").exists()


def test_an_update_between_two_refreshes_takes_under_5_us(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = progress._LiveReporter(10**6, 0)
    reporter._next_refresh = float("inf")
    seconds = min(timeit.repeat(lambda: reporter.update(5, None), number=1000, repeat=20)) / 1000
    reporter.close()
    assert seconds < 5e-6
