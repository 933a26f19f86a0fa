"""Videos of an agent."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from pgfast._streams import EVALUATION_ACTIONS, EVALUATION_SEEDS
from pgfast._typing import Array
from pgfast.envs.action_masks import without_mask
from pgfast.envs.playback import open_playback
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.learning.bounds import Count, check
from pgfast.learning.settings import EnvironmentSettings
from pgfast.random import Rng
from pgfast.runs.files import fsync_directory, temporary_name
from pgfast.sampling.actor import Actor

__all__ = ["VideoResult", "make_gif", "record_video"]

_LARGEST_SIDE = 640  # pixels; smaller frames are enlarged by the largest whole factor that stays within


class VideoAgent(Protocol):
    """The interface that recording needs of an agent."""

    source: EnvironmentSource | None
    space: SpaceInfo

    @property
    def settings(self) -> EnvironmentSettings:
        """Say where the masks of actions are, and whether actions are scaled."""

    def actor(self, rng: Rng, *, num_envs: int, deterministic: bool) -> Actor:
        """Returns what chooses the actions in ``num_envs`` environments."""


@dataclass(frozen=True)
class VideoResult:
    """A recorded episode."""

    path: Path
    frames: int
    frames_per_second: float
    episode_return: float  # raw
    length: int  # steps
    ended: bool  # False if max_steps cut the episode off


def record_video(
    agent: VideoAgent, out: str | Path, *, seed: int = 0, deterministic: bool = False, max_steps: int | None = None
) -> VideoResult:
    """Records one whole episode as an MP4 (H.264), which all browsers and players support.

    The policy sees the observations that it saw in training, frozen normalizers included. The video of an Atari game
    shows the game of ``agent.evaluate(1, seed=seed)`` with all its lives, every frame of the console from the first
    decision on, in color, at 60 per second. Other environments render themselves, a frame per step, at their
    ``render_fps`` (30 if they have none). Frames smaller than 640 pixels are enlarged by a whole factor, without
    smoothing.

    In MuJoCo's tasks the camera follows the body, unless the environment was made with a camera of its own.

    Frames are encoded one by one: the memory needed does not depend on the video's length. The file appears when it is
    complete, and replaces an older one. Its directory is created.

    Args:
        agent: made from an environment id, or from a function that makes one environment with
            ``render_mode="rgb_array"``.
        out: the file to write, ending in ``.mp4``.
        seed: of the episode and of the sampled actions.
        deterministic: takes the most probable actions. Such a policy can enter an endless loop (in Breakout, a ball
            that never meets a brick), which then lasts until the environment's time limit.
        max_steps: ends the video after this many steps; None records to the end of the episode, or to the environment's
            time limit (Atari: 108,000 frames, 27,000 steps, half an hour). Without a time limit it may never end.

    Raises:
        ImportError: if imageio-ffmpeg is missing, or a package that the environment draws with.
        ValueError: for ``out`` or ``max_steps``, or if the agent has no environment that can be drawn.
        TypeError: if ``max_steps`` is not a whole number.
        RuntimeError: if the encoder fails, the two emulators of an Atari game differ, or there is neither a screen nor
            a way to draw without one.
        OSError: if the file cannot be written. No failure leaves a file.
    """
    out = Path(out)
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"record_video: out must end in .mp4, got {out}")
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    max_steps = check("record_video: max_steps", max_steps, Count | None)
    if agent.source is None:
        raise ValueError("record_video: this agent was loaded without an environment; give one to pgfast.load as env=")
    ffmpeg = _find_ffmpeg()
    (environment_seed,) = environment_seeds(seed, 1, stream=EVALUATION_SEEDS)
    settings = agent.settings
    playback = open_playback(agent.source, settings.action_mask, action_scaling=settings.action_scaling)
    with closing(playback):
        observation_space = without_mask(playback.env.single_observation_space, settings.action_mask)
        found = SpaceInfo.of(observation_space, playback.env.single_action_space)
        if found != agent.space:
            raise ValueError(f"record_video: the environment has {found}, the agent {agent.space}")
        observations, frames = playback.reset(environment_seed)
        actor = agent.actor(Rng.internal(seed, EVALUATION_ACTIONS), num_envs=1, deterministic=deterministic)
        count, episode_return, length, ended = len(frames), 0.0, 0, False
        out.parent.mkdir(parents=True, exist_ok=True)
        with _open_mp4(out, ffmpeg, frames[0].shape, playback.frames_per_second) as append:
            append(frames)
            while not ended and length != max_steps:
                step = playback.step(actor.act(observations, np.array([length == 0]), playback.masks))
                append(step.frames)
                observations, ended = step.observations, step.episode_over
                count += len(step.frames)
                episode_return += step.raw_reward
                length += 1
    return VideoResult(out, count, playback.frames_per_second, episode_return, length, ended)


def make_gif(video: Path) -> bytes:
    """The first ten seconds of a video as an animated GIF, 320 pixels wide, with 10 pictures per second.

    Raises ``ImportError`` if imageio-ffmpeg is missing, ``RuntimeError`` if the encoder fails.
    """
    filters = "fps=10,scale=320:-1:flags=area,split[a][b];[a]palettegen[colors];[b][colors]paletteuse=dither=none"
    source = [_find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-t", "10", "-i", f"file:{video}"]
    done = subprocess.run(
        [*source, "-vf", filters, "-f", "gif", "pipe:1"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"make_gif: the encoder failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _find_ffmpeg() -> str:
    try:
        ffmpeg = import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ImportError('videos need imageio-ffmpeg: pip install "pgfast[video]"') from error
    return str(ffmpeg.get_ffmpeg_exe())


@contextmanager
def _open_mp4(
    path: Path, ffmpeg: str, shape: tuple[int, ...], frames_per_second: float
) -> Iterator[Callable[[list[Array]], None]]:
    """Yields a function that appends frames to an MP4 file, which is complete when the block ends, or absent."""
    # imageio_ffmpeg.write_frames ignores the encoder's exit status: on a full disk it reports no error.
    temporary = temporary_name(path)
    broken = False
    try:
        temporary.touch()  # raises an OSError that names the path, which the encoder would not
        with tempfile.TemporaryFile() as messages:
            with subprocess.Popen(
                [ffmpeg, *_encoding(shape, frames_per_second), f"file:{temporary}"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stderr=messages,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then kills the encoder
            ) as encoder:

                def append(frames: list[Array]) -> None:
                    assert encoder.stdin is not None
                    for frame in frames:
                        if frame.shape != shape:
                            raise ValueError(
                                f"record_video: the first frame has shape {shape}, a later one {frame.shape}"
                            )
                        rest = np.ascontiguousarray(frame).data.cast("B")
                        while rest:
                            rest = rest[encoder.stdin.write(rest) :]

                try:
                    yield append
                except BrokenPipeError:
                    broken = True
                except BaseException:
                    encoder.kill()
                    raise
            if broken or encoder.returncode != 0:
                messages.seek(0)
                reason = messages.read().decode(errors="replace").strip() or f"exit status {encoder.returncode}"
                raise RuntimeError(f"record_video: the encoder failed: {reason}")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):  # a name that the caller does not know
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def _encoding(shape: tuple[int, ...], frames_per_second: float) -> list[str]:
    """The encoder's arguments except the output file."""
    height, width, _ = shape
    factor = max(1, _LARGEST_SIDE // max(height, width))
    width_out, height_out = factor * width, factor * height
    filters = [
        f"scale={width_out}:{height_out}:flags=neighbor,format=rgb24",
        f"pad={width_out + width_out % 2}:{height_out + height_out % 2}",  # colors are stored per 2 x 2 pixels
        "scale=flags=bicubic:out_color_matrix=bt709:out_range=tv,format=yuv420p",
        "setparams=color_primaries=bt709:color_trc=bt709",  # without tags, players guess
    ]
    source = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    return [
        *("-hide_banner", "-loglevel", "error", "-y"),
        *(*source, "-framerate", f"{frames_per_second:.10g}", "-i", "pipe:0"),
        *("-vf", ",".join(filters), "-c:v", "libx264", "-preset", "fast", "-crf", "20"),
        *("-movflags", "+faststart", "-f", "mp4"),  # the index first: playback can start while the file loads
    ]
