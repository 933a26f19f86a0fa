"""record_video and its playbacks: Atari's second emulator, environments that draw themselves, the MP4 itself."""

from __future__ import annotations

import dataclasses
import math
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
from pgfast.envs.playback import AtariPlayback, open_playback
from pgfast.envs.registration import env_spec
from pgfast.envs.source import EnvironmentSource
from pgfast.reporting import video
from pgfast.reporting.video import record_video

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

GAMES = [
    "BreakoutNoFrameskip-v4",
    "ALE/Breakout-v5",  # v5: sticky actions
    "PongNoFrameskip-v4",  # lives are always 0
    "ALE/Pong-v5",
    "ALE/SpaceInvaders-v5",
    "SeaquestNoFrameskip-v4",  # all 18 actions
    "FreewayNoFrameskip-v4",  # no FIRE
    "ALE/JourneyEscape-v5",  # 230 lines rather than 210
]


class Counting(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows the number of steps as a gray level, on frames of odd size; ends after ten. Rewards are 1, 2, 3, ..."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 (as in Gymnasium)
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
            raise self._error("the environment broke")
        return self._observe(), float(self._steps), self._steps == 10, False, {}

    def render(self) -> NDArray[np.uint8]:
        return np.full((25, 31, 3), 20 * self._steps, np.uint8)

    def _observe(self) -> NDArray[np.float32]:
        return np.array([self._steps], np.float32)


class Invisible(Counting):
    """Cannot be rendered."""

    metadata = {"render_modes": []}  # noqa: RUF012


class OnlyOne(Counting):
    """Refuses to be open twice in one process, as some emulators do."""

    open_here = 0

    def __init__(self) -> None:
        if OnlyOne.open_here:
            raise RuntimeError("Cannot create multiple emulator instances per process")
        super().__init__("rgb_array")
        OnlyOne.open_here = 1

    def close(self) -> None:
        OnlyOne.open_here = 0


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
    """(ffmpeg's description of the file, its frames)"""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    description = done.stderr.decode()
    size = re.search(r"Video: .* (\d+)x(\d+),", description)
    assert size is not None
    return description, np.frombuffer(done.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)


def atari_playback(env_id: str) -> AtariPlayback:
    playback = open_playback(EnvironmentSource(env_id))
    assert isinstance(playback, AtariPlayback)
    return playback


def shrink(screen: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[H, W]`` to ``[84, W]``: each row is the average of H / 84 rows."""
    repeats = 84 // math.gcd(84, len(screen))
    return np.repeat(screen, repeats, axis=0).reshape(84, -1, screen.shape[1]).mean(axis=1)


@pytest.mark.parametrize("env_id", [GAMES[0], *(pytest.param(game, marks=pytest.mark.slow) for game in GAMES[1:])])
def test_the_two_emulators_of_a_playback_agree(env_id: str, rng: np.random.Generator) -> None:
    playback = atari_playback(env_id)
    plain = AtariVecEnv(atari_game(env_spec(env_id)), 1, num_threads=1)
    seed, steps = 77, 0
    while steps < 400:
        observations, frames = playback.reset(seed)
        np.testing.assert_array_equal(observations, plain.reset(seed=[seed])[0])
        assert len(frames) == 1
        game_over = False
        while not game_over and steps < 400:
            actions = rng.integers(plain.single_action_space.n, size=1)  # type: ignore[attr-defined]
            step = playback.step(actions)  # raises if reward, lives, end or frame number differ
            expected, _, _, _, infos = plain.step(actions)
            np.testing.assert_array_equal(step.observations, expected)
            assert (step.raw_reward, step.episode_over) == (infos["raw_reward"][0], infos["game_over"][0])
            assert len(step.frames) == 4 or step.episode_over
            height = 230 if "JourneyEscape" in env_id else 210
            assert all(frame.shape == (height, 160, 3) and frame.dtype == np.uint8 for frame in step.frames)
            if not step.episode_over:  # ale-py leaves out the last frame of a game
                gray = [np.rint(frame @ [0.2989, 0.5870, 0.1140]) for frame in step.frames[-2:]]
                screen = shrink(shrink(np.max(gray, axis=0)).T).T
                np.testing.assert_allclose(step.observations[0, -1], screen, atol=0.51)  # rounded to whole levels
            game_over = step.episode_over
            steps += 1
        seed += 1


def test_the_frame_limit_ends_a_playback() -> None:
    game = dataclasses.replace(atari_game(env_spec("PongNoFrameskip-v4")), max_num_frames_per_episode=42)
    playback = AtariPlayback(game)
    playback.reset(5)
    steps = [playback.step(np.zeros(1, np.int64)) for _ in range(11)]
    assert [len(step.frames) for step in steps] == [4] * 10 + [2]
    assert [step.episode_over for step in steps] == [False] * 10 + [True]


def make_different(playback: AtariPlayback, what: str) -> None:
    """Makes the second emulator differ from the first."""
    emulator = playback._color_env
    reset, step = emulator.reset, emulator.step
    if what == "sticky actions":
        game = dataclasses.replace(playback.env.game, repeat_action_probability=0.0)
        playback._color_env = AtariPlayback(game)._color_env
    elif what == "seed":
        emulator.reset = lambda seed: reset(seed=seed + 1)
    elif what == "actions":
        emulator.step = lambda actions: step(3 - actions)
    elif what == "no-ops":

        def reset_later(seed: NDArray[np.int64]) -> Any:
            reset(seed=seed)
            observations, *_, infos = [step(np.zeros(1, np.int64)) for _ in range(2)][-1]
            return observations, infos

        emulator.reset = reset_later


@pytest.mark.parametrize("what", ["sticky actions", "seed", "actions", "no-ops"])
def test_emulators_that_differ_are_noticed(what: str, rng: np.random.Generator) -> None:
    playback = atari_playback("ALE/Breakout-v5")
    make_different(playback, what)
    with pytest.raises(RuntimeError, match=r"breakout: .* differs between the vector environment"):
        step_randomly(playback, rng, 100)


def step_randomly(playback: AtariPlayback, rng: np.random.Generator, steps: int) -> None:
    playback.reset(3)
    for _ in range(steps):
        playback.step(rng.integers(4, size=1))


@pytest.mark.parametrize("name", ["raw_reward", "lives", "episode_frame_number", "game_over"])
def test_reward_lives_end_and_frame_number_are_compared(name: str) -> None:
    playback = atari_playback("PongNoFrameskip-v4")
    playback.reset(3)
    emulator = playback._color_env
    step = emulator.step

    def step_differently(actions: NDArray[np.int64]) -> Any:
        screens, rewards, terminated, truncated, infos = step(actions)
        rewards = rewards + (name == "raw_reward")
        infos = {key: value + (key == name) for key, value in infos.items()}
        return screens, rewards, terminated | (name == "game_over"), truncated, infos

    emulator.step = step_differently
    with pytest.raises(RuntimeError, match=f"pong: {name} differs between the vector environment"):
        playback.step(np.zeros(1, np.int64))


def test_record_video_shows_the_episode_of_evaluate(breakout: A2C, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "episode.mp4"
    result = record_video(breakout, out)
    evaluation = breakout.evaluate(1, seed=0)
    assert (result.episode_return, result.length) == (evaluation.returns[0], evaluation.lengths[0])
    assert result.path == out
    assert result.ended
    assert 4 * (result.length - 1) < result.frames - 1 <= 4 * result.length
    assert [path.name for path in out.parent.iterdir()] == ["episode.mp4"]

    description, pictures = read_video(out)
    assert re.search(r"Video: h264 .*yuv420p\(tv, bt709, progressive\), 480x630, .* 60 fps", description)
    minutes, seconds = re.search(r"Duration: 00:(\d\d):([\d.]+)", description).groups()  # type: ignore[union-attr]
    assert 60 * int(minutes) + float(seconds) == pytest.approx(result.frames / 60, abs=0.02)
    assert len(pictures) == result.frames
    assert out.read_bytes().index(b"moov") < out.read_bytes().index(b"mdat")  # can play while it loads
    np.testing.assert_allclose(pictures[0, 3 * 60, 3 * 80], [200, 72, 72], atol=8)  # the red row of bricks
    np.testing.assert_allclose(pictures[0, 3 * 90, 3 * 80], [66, 72, 200], atol=8)  # the blue one
    assert not np.array_equal(pictures[0], pictures[-1])


@pytest.mark.slow
def test_a_video_depends_only_on_the_seed(breakout: A2C, tmp_path: Path) -> None:
    breakout.predict(np.zeros((4, 84, 84), np.uint8))
    first, again, other = (
        record_video(breakout, tmp_path / f"{name}.mp4", seed=seed, max_steps=15)
        for name, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    assert dataclasses.replace(again, path=first.path) == first
    _, pictures = read_video(first.path)
    np.testing.assert_array_equal(pictures, read_video(again.path)[1])
    assert len(pictures) != other.frames or not np.array_equal(pictures, read_video(other.path)[1])


def test_max_steps_ends_the_video(breakout: A2C, tmp_path: Path) -> None:
    result = record_video(breakout, tmp_path / "episode.mp4", deterministic=True, max_steps=7)
    assert (result.length, result.ended) == (7, False)
    assert result.frames == 1 + 28
    assert len(read_video(result.path)[1]) == result.frames


@pytest.mark.parametrize("agent", ["id", "factory"])
def test_an_environment_that_renders_itself(agent: str, tmp_path: Path) -> None:
    out = tmp_path / "episode.mp4"
    out.write_bytes(b"an older video")
    result = record_video(A2C("Counting-v0") if agent == "id" else counting_agent(), str(out))
    assert result == video.VideoResult(out, 11, 12.0, 55.0, 10, True)
    description, pictures = read_video(out)
    assert "620x500," in description
    assert "12 fps" in description
    # The last frame shows the end, not a reset.
    np.testing.assert_allclose(pictures.mean((1, 2, 3)), 20 * np.arange(11), atol=2)


def test_frames_of_odd_size_are_padded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_LARGEST_SIDE", 31)
    _, pictures = read_video(record_video(counting_agent(), tmp_path / "episode.mp4").path)
    assert pictures.shape == (11, 26, 32, 3)
    np.testing.assert_allclose(pictures[-1, :25, :31], 200, atol=16)  # the border beside it is black


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_recording_leaves_the_folder_unchanged(error: type[BaseException], tmp_path: Path) -> None:
    out = tmp_path / "episode.mp4"
    out.write_bytes(b"an older video")
    expected = EnvironmentFailure if error is OSError else error
    with pytest.raises(expected, match="the environment broke"):
        record_video(counting_agent(failing_at=5, error=error), out)
    assert out.read_bytes() == b"an older video"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("reads_first", [True, False])
def test_an_encoders_error_is_reported(reads_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tmp_path / "encoder"
    encoder.write_text(f"#!/bin/sh\n{'cat > /dev/null' if reads_first else ''}\necho no space left >&2\nexit 3\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(video, "_find_ffmpeg", lambda: str(encoder))
    monkeypatch.setattr(Counting, "render", lambda self: np.zeros((600, 600, 3), np.uint8))  # more than a pipe holds
    with pytest.raises(RuntimeError, match="the encoder failed: no space left"):
        record_video(counting_agent(), tmp_path / "episode.mp4")
    assert list(tmp_path.iterdir()) == [encoder]


def test_an_emulator_that_is_alone_in_its_process_is_filmed_while_workers_train(tmp_path: Path) -> None:
    agent = A2C(OnlyOne, num_envs=2, n_steps=5, hidden_sizes=(4,), vectorization="async").learn(10)
    assert record_video(agent, tmp_path / "episode.mp4").length == 10
    assert OnlyOne.open_here == 0
    agent.learn(10).close()
    with pytest.raises(EnvironmentFailure, match=r'^environment 1 could not be made: .*; vectorization="async" runs'):
        A2C(OnlyOne, num_envs=2).learn(10)
    assert OnlyOne.open_here == 0


def test_record_video_refuses_impossible_arguments(tmp_path: Path) -> None:
    out = tmp_path / "episode.mp4"
    agent = counting_agent()
    with pytest.raises(ValueError, match=r"out must end in \.mp4, got .*episode\.gif"):
        record_video(agent, tmp_path / "episode.gif")
    with pytest.raises(ValueError, match="max_steps must be an int of at least 1 or None, got 0"):
        record_video(agent, out, max_steps=0)
    with pytest.raises(ValueError, match='"rgb_array"'):
        record_video(A2C("Invisible-v0"), out)
    with pytest.raises(ValueError, match='make it with render_mode="rgb_array"'):
        record_video(A2C(Counting, num_envs=1), out)
    with pytest.raises(ValueError, match="a vector environment cannot be drawn"):
        record_video(A2C(make_vec("Counting-v0", 2, seed=0)), out)
    agent.source = EnvironmentSource("PongNoFrameskip-v4")
    with pytest.raises(ValueError, match="the environment has observations"):
        record_video(agent, out)
    agent.source = None
    with pytest.raises(ValueError, match="loaded without an environment"):
        record_video(agent, out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(IsADirectoryError, match=r"episode\.mp4"):
        record_video(counting_agent(), out)


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), None]
)
def test_a_frame_must_be_a_picture(frame: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "render", lambda self: frame)
    with pytest.raises(ValueError, match="must draw uint8 frames of shape"):
        record_video(counting_agent(), tmp_path / "episode.mp4")


def test_frames_must_keep_their_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "render", lambda self: np.zeros((8 + self._steps, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the first frame has shape \(8, 8, 3\), a later one \(9, 8, 3\)"):
        record_video(counting_agent(), tmp_path / "episode.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_renderers_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Counting) -> None:
        raise KeyError("an OpenGL context")

    monkeypatch.setattr(Counting, "render", fail)
    with pytest.raises(RuntimeError, match=r"the environment cannot be drawn: .*OpenGL.*MUJOCO_GL=egl"):
        record_video(counting_agent(), tmp_path / "episode.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match="CartPole-v1 cannot be drawn: pygame is not installed"):
        record_video(A2C("CartPole-v1"), tmp_path / "episode.mp4")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r'pip install "pgfast\[video\]"'):
        record_video(counting_agent(), tmp_path / "episode.mp4")
    assert list(tmp_path.iterdir()) == []
