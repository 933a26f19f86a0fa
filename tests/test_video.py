"""record_video and the playback it films: Atari's twin emulator, environments that draw themselves, the MP4 itself."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from numpy.typing import NDArray

from pgfast import A2C, make_vec
from pgfast.envs.atari import AtariVecEnv, atari_game
from pgfast.envs.failures import EnvironmentFailure
from pgfast.envs.make import env_spec
from pgfast.envs.playback import AtariPlayback, open_playback
from pgfast.envs.source import EnvironmentSource
from pgfast.reporting import video
from pgfast.reporting.video import record_video

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

GAMES = [
    "BreakoutNoFrameskip-v4",
    "ALE/Breakout-v5",  # v5: sticky actions
    "PongNoFrameskip-v4",  # lives are 0 all game long
    "ALE/Pong-v5",
    "ALE/SpaceInvaders-v5",
    "SeaquestNoFrameskip-v4",  # all 18 actions
    "FreewayNoFrameskip-v4",  # no FIRE
]


class Counting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows on frames of odd size how many steps it has taken, and ends after ten. Rewards 1, 2, 3, ..."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 (as gymnasium has it)
    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2, start=3)

    def __init__(self, render_mode: str | None = None, failing_at: int = -1, error: type[BaseException] = OSError):
        self.render_mode = render_mode
        self._failing_at = failing_at
        self._error = error
        self._steps = 0

    def reset(self, **kwargs: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(**kwargs)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        assert action in (3, 4)
        self._steps += 1
        if self._steps == self._failing_at:
            raise self._error("the game broke")
        return self._observe(), float(self._steps), self._steps == 10, False, {}

    def render(self) -> NDArray[np.uint8]:
        return np.full((25, 31, 3), 20 * self._steps, np.uint8)

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self._steps], np.float32)


class Invisible(Counting):
    """The same, but it cannot be drawn."""

    metadata = {"render_modes": []}  # noqa: RUF012


@pytest.fixture(autouse=True)
def _test_environments() -> Iterator[None]:
    for name, entry_point in (("Counting-v0", Counting), ("Invisible-v0", Invisible)):
        gymnasium.register(name, entry_point)  # type: ignore[arg-type]
    yield
    for name in ("Counting-v0", "Invisible-v0"):
        del gymnasium.registry[name]


@pytest.fixture(scope="module")
def breakout() -> A2C:
    return A2C("BreakoutNoFrameskip-v4", seed=1)


def counting_agent(**arguments: Any) -> A2C:
    return A2C(lambda: Counting("rgb_array", **arguments), num_envs=1, network="mlp")


def read_video(path: Path) -> tuple[str, NDArray[np.uint8]]:
    """(what ffmpeg says of the file, its frames)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    said = done.stderr.decode()
    size = re.search(r"Video: .* (\d+)x(\d+),", said)
    assert size is not None
    return said, np.frombuffer(done.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)


def atari_playback(env_id: str) -> AtariPlayback:
    playback = open_playback(EnvironmentSource(env_id))
    assert isinstance(playback, AtariPlayback)
    return playback


@pytest.mark.parametrize("env_id", GAMES)
def test_the_drawn_game_is_the_one_that_is_played(env_id: str, rng: np.random.Generator) -> None:
    playback = atari_playback(env_id)
    plain = AtariVecEnv(atari_game(env_spec(env_id)), 1, num_threads=1)
    seed, steps = 77, 0
    while steps < 400:
        observations, frames = playback.reset(seed)
        np.testing.assert_array_equal(observations, plain.reset(seed=[seed])[0])
        assert 1 <= len(frames) <= 31
        game_over = False
        while not game_over and steps < 400:
            actions = rng.integers(plain.single_action_space.n, size=1)  # type: ignore[attr-defined]
            step = playback.step(actions)  # raises where the twin has another score, lives, screen or end
            expected, _, _, _, infos = plain.step(actions)
            np.testing.assert_array_equal(step.observations, expected)
            assert (step.score, step.game_over) == (infos["score"][0], infos["game_over"][0])
            assert len(step.frames) == 4 or step.game_over
            assert all(frame.shape == (210, 160, 3) and frame.dtype == np.uint8 for frame in step.frames)
            game_over = step.game_over
            steps += 1
        seed += 1


def test_the_frame_limit_ends_a_played_back_game() -> None:
    game = dataclasses.replace(atari_game(env_spec("PongNoFrameskip-v4")), max_num_frames_per_episode=42)
    playback = AtariPlayback(game)
    playback.reset(5)
    steps = [playback.step(np.zeros(1, np.int64)) for _ in range(11)]
    assert [len(step.frames) for step in steps] == [4] * 10 + [2]
    assert [step.game_over for step in steps] == [False] * 10 + [True]


def unlike(playback: AtariPlayback, what: str) -> None:
    """Makes the twin another game than the one that is played."""
    twin = playback._twin
    if what == "sticky actions":
        twin._ale.setFloat("repeat_action_probability", 0.0)
    elif what == "seed":
        reset = twin.reset
        twin.reset = lambda seed, num_frames: reset(seed + 1, num_frames)  # type: ignore[method-assign]
    elif what == "actions":
        twin._actions.reverse()
    elif what == "no-ops":
        reset = twin.reset
        twin.reset = lambda seed, num_frames: reset(seed, num_frames + 2)  # type: ignore[method-assign]


@pytest.mark.parametrize("what", ["sticky actions", "seed", "actions", "no-ops"])
def test_a_twin_that_goes_another_way_is_noticed(what: str, rng: np.random.Generator) -> None:
    playback = atari_playback("ALE/Breakout-v5")
    unlike(playback, what)
    with pytest.raises(RuntimeError, match=r"breakout: the .* differs between the vector environment"):
        play_randomly(playback, rng, 100)


def play_randomly(playback: AtariPlayback, rng: np.random.Generator, steps: int) -> None:
    playback.reset(3)
    for _ in range(steps):
        playback.step(rng.integers(4, size=1))


@pytest.mark.parametrize("what", ["score", "lives", "over"])
def test_score_lives_and_end_are_compared(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    playback = atari_playback("PongNoFrameskip-v4")
    playback.reset(3)
    if what == "score":
        step = playback._twin.step
        monkeypatch.setattr(playback._twin, "step", lambda action: (1.0, step(action)[1]))
    else:
        monkeypatch.setattr(type(playback._twin), what, 1)
    with pytest.raises(RuntimeError, match="the game's end differs" if what == "over" else f"the {what} differs"):
        playback.step(np.zeros(1, np.int64))


def test_record_video_films_the_game_that_evaluate_plays(breakout: A2C, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "game.mp4"
    result = record_video(breakout, out)
    evaluation = breakout.evaluate(1, seed=0)
    assert (result.score, result.length) == (evaluation.returns[0], evaluation.lengths[0])
    assert result.path == out
    assert result.game_over
    assert 4 * (result.length - 1) < result.frames <= 4 * result.length + 31
    assert [path.name for path in out.parent.iterdir()] == ["game.mp4"]

    said, pictures = read_video(out)
    assert re.search(r"Video: h264 .*yuv420p\(tv, bt709, progressive\), 480x630, .* 60 fps", said)
    minutes, seconds = re.search(r"Duration: 00:(\d\d):([\d.]+)", said).groups()  # type: ignore[union-attr]
    assert 60 * int(minutes) + float(seconds) == pytest.approx(result.frames / 60, abs=0.02)
    assert len(pictures) == result.frames
    assert out.read_bytes().index(b"moov") < out.read_bytes().index(b"mdat")  # plays while it loads
    np.testing.assert_allclose(pictures[0, 3 * 60, 3 * 80], [200, 72, 72], atol=8)  # the red row of bricks
    np.testing.assert_allclose(pictures[0, 3 * 90, 3 * 80], [66, 72, 200], atol=8)  # the blue one
    assert not np.array_equal(pictures[0], pictures[-1])


def test_record_video_depends_on_the_seed_alone(breakout: A2C, tmp_path: Path) -> None:
    breakout.predict(np.zeros((4, 84, 84), np.uint8))
    first, again, other = (
        record_video(breakout, tmp_path / f"{name}.mp4", seed=seed, max_steps=15)
        for name, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    assert dataclasses.replace(again, path=first.path) == first
    _, pictures = read_video(first.path)
    np.testing.assert_array_equal(pictures, read_video(again.path)[1])
    assert len(pictures) != other.frames or not np.array_equal(pictures, read_video(other.path)[1])


def test_max_steps_ends_the_film(breakout: A2C, tmp_path: Path) -> None:
    result = record_video(breakout, tmp_path / "game.mp4", deterministic=True, max_steps=7)
    assert (result.length, result.game_over) == (7, False)
    assert 28 < result.frames <= 28 + 31
    assert len(read_video(result.path)[1]) == result.frames


@pytest.mark.parametrize("agent", ["id", "factory"])
def test_an_environment_that_draws_itself(agent: str, tmp_path: Path) -> None:
    out = tmp_path / "game.mp4"
    out.write_bytes(b"an older film")
    result = record_video(A2C("Counting-v0") if agent == "id" else counting_agent(), str(out))  # type: ignore[arg-type]
    assert result == video.VideoResult(out, 11, 12.0, 55.0, 10, True)
    said, pictures = read_video(out)
    assert "620x500," in said
    assert "12 fps" in said
    np.testing.assert_allclose(pictures.mean((1, 2, 3)), 20 * np.arange(11), atol=2)  # ends as it ended, not reset


def test_frames_of_odd_size_are_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_LARGEST_SIDE", 31)
    _, pictures = read_video(record_video(counting_agent(), tmp_path / "game.mp4").path)
    assert pictures.shape == (11, 26, 32, 3)
    np.testing.assert_allclose(pictures[-1, :25, :31], 200, atol=16)  # the border beside it is black


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_game_that_breaks_off_leaves_the_folder_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    out = tmp_path / "game.mp4"
    out.write_bytes(b"an older film")
    expected = EnvironmentFailure if error is OSError else error
    with pytest.raises(expected, match="the game broke"):
        record_video(counting_agent(failing_at=5, error=error), out)
    assert out.read_bytes() == b"an older film"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("reads_first", [True, False])
def test_an_encoder_that_fails_says_why(reads_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tmp_path / "encoder"
    encoder.write_text(f"#!/bin/sh\n{'cat > /dev/null' if reads_first else ''}\necho no space left >&2\nexit 3\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(video, "_find_ffmpeg", lambda: str(encoder))
    monkeypatch.setattr(Counting, "render", lambda self: np.zeros((600, 600, 3), np.uint8))  # more than a pipe holds
    with pytest.raises(RuntimeError, match="the encoder failed: no space left"):
        record_video(counting_agent(), tmp_path / "game.mp4")
    assert list(tmp_path.iterdir()) == [encoder]


def test_record_video_refuses_what_it_cannot_film(tmp_path: Path) -> None:
    out = tmp_path / "game.mp4"
    agent = counting_agent()
    with pytest.raises(ValueError, match=r"out must end in \.mp4, got .*game\.gif"):
        record_video(agent, tmp_path / "game.gif")
    with pytest.raises(ValueError, match="max_steps must be at least 1 or None, got 0"):
        record_video(agent, out, max_steps=0)
    with pytest.raises(ValueError, match='"rgb_array"'):
        record_video(A2C("Invisible-v0"), out)
    with pytest.raises(ValueError, match='make it with render_mode="rgb_array"'):
        record_video(A2C(Counting, num_envs=1), out)
    with pytest.raises(ValueError, match="a vector environment cannot be drawn"):
        record_video(A2C(make_vec("Counting-v0", 2, seed=0)), out)
    agent.source = EnvironmentSource("PongNoFrameskip-v4")
    with pytest.raises(ValueError, match="the environment has SpaceInfo"):
        record_video(agent, out)
    agent.source = None
    with pytest.raises(ValueError, match="loaded without an environment"):
        record_video(agent, out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(IsADirectoryError, match=r"game\.mp4"):
        record_video(counting_agent(), out)


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), None]
)
def test_a_frame_must_be_a_picture(frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "render", lambda self: frame)
    with pytest.raises(ValueError, match="must draw uint8 frames of shape"):
        record_video(counting_agent(), tmp_path / "game.mp4")


def test_frames_must_keep_their_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "render", lambda self: np.zeros((8 + self._steps, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the first frame has shape \(8, 8, 3\), a later one \(9, 8, 3\)"):
        record_video(counting_agent(), tmp_path / "game.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_renderer_that_fails_is_told_of_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Counting) -> None:
        raise KeyError("an OpenGL context")

    monkeypatch.setattr(Counting, "render", fail)
    with pytest.raises(RuntimeError, match=r"the environment cannot be drawn: .*OpenGL.*MUJOCO_GL=egl"):
        record_video(counting_agent(), tmp_path / "game.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match="CartPole-v1 cannot be drawn: pygame is not installed"):
        record_video(A2C("CartPole-v1"), tmp_path / "game.mp4")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "pgfast\[video\]"'):
        record_video(counting_agent(), tmp_path / "game.mp4")
    assert list(tmp_path.iterdir()) == []
