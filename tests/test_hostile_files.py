"""Untrusted files: each yields an agent or a CheckpointError, soon, in little memory, and nothing is executed."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgfast
from pgfast.algorithms import ALGORITHMS
from pgfast.loading import verify
from pgfast.runs.checkpoints import latest_checkpoint

# Runs in a new process, which records imports, executed and unpickled code, and memory.
LOAD_ALL = """
import json, resource, sys, time
from pathlib import Path
import pgfast
from pgfast.loading import verify

folder, paths = Path({folder!r}), [Path(line) for line in sys.stdin.read().splitlines()]
pgfast.load(folder / "whole" / "model.safetensors").predict([0.0] * 4)
for path in paths[:3]:
    try:
        verify(path)
    except pgfast.CheckpointError:
        pass

WATCHED = ("import", "exec", "compile", "pickle.", "marshal.", "os.system", "os.exec", "os.posix_spawn", "os.fork",
           "subprocess.", "ctypes.", "shutil.", "os.remove", "os.rename", "os.mkdir", "socket.")
seen = []
def watch(event, arguments):
    if watching and (event.startswith(WATCHED) or event == "open" and arguments[1] not in (None, "r", "rb")):
        seen.append(f"{{event}} {{arguments!r:.200}}")
watching = False
sys.addaudithook(watch)

def peak():
    # In MB, the peak of the process: another process writes the corpus, as that takes more memory than reading it.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

results = []
for path in paths:
    for read in (pgfast.load, verify):
        before, began = peak(), time.perf_counter()
        watching = True
        try:
            read(path)
            outcome = "an agent"
        except pgfast.CheckpointError as error:
            outcome = f"refused: {{error}}"
        except BaseException as error:
            outcome = f"{{type(error).__name__}}: {{error}}"
        watching = False
        results.append([path.name, outcome, time.perf_counter() - began, peak() - before])
json.dump({{"results": results, "seen": seen}}, sys.stdout)
"""


def test_the_corpus_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    generator = Path(__file__).parent / "hostile_files.py"
    paths = subprocess.run([sys.executable, generator, folder], capture_output=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALL.format(folder=str(folder))],
        input=paths.stdout,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout)
    assert found["seen"] == []
    assert not (folder / "executed").exists()
    assert len(found["results"]) >= 2 * 80
    for name, outcome, seconds, megabytes in found["results"]:
        assert outcome.startswith("refused: "), f"{name}: {outcome}"
        assert len(outcome) < 1000, f"{name}: {outcome[:2000]}"
        assert "\n" not in outcome, f"{name}: {outcome}"
        assert seconds < 1.0, f"{name}: {seconds:.2f} s"
        assert megabytes < 64, f"{name}: {megabytes:.0f} MB"
    slowest, largest = (max(found["results"], key=lambda result: result[column]) for column in (2, 3))
    print(f"{len(paths.stdout.splitlines())} paths; {slowest[0]} {slowest[2]:.2f} s; {largest[0]} {largest[3]:.0f} MB")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "run"
    pgfast.TRPO("CartPole-v1", num_envs=2, n_steps=10, hidden_sizes=(4,), normalize_observations=True).learn(
        40, run_dir=path
    )
    return path


def read_changed(run: Path, data: st.DataObject) -> None:
    """Changes bytes of one file of a run, reads the run, and restores the file."""
    newest = latest_checkpoint(run / "checkpoints")
    assert newest is not None
    files = [run / "model.safetensors", *sorted(newest.iterdir()), run / "progress.csv", run / "config.json"]
    path = data.draw(st.sampled_from(files), label="file")
    whole = path.read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)), label="at")
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "repeat", "digit"]), label="kind")
        if kind == "set":
            changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del changed[at : at + data.draw(st.integers(1, 64))]
        elif kind == "insert":
            changed[at:at] = data.draw(st.binary(max_size=16))
        elif kind == "repeat":
            changed[at:at] = changed[at : at + data.draw(st.integers(1, 64))]
        else:
            changed[at : at + 1] = b"9"
    try:
        path.write_bytes(changed)
        for target in (run, newest, run / "model.safetensors"):
            with suppress(pgfast.CheckpointError):
                assert verify(target).name in ALGORITHMS
    finally:
        path.write_bytes(whole)


@settings(max_examples=150)
@given(data=st.data())
def test_changed_bytes_lead_to_an_agent_or_the_error(run: Path, data: st.DataObject) -> None:
    read_changed(run, data)


@pytest.mark.long
@pytest.mark.timeout(7200)
@settings(max_examples=20_000)
@given(data=st.data())
def test_many_changed_bytes_lead_to_an_agent_or_the_error(run: Path, data: st.DataObject) -> None:
    read_changed(run, data)
