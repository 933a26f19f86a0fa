"""Films of an agent at play."""

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
from pgfast.envs.playback import open_playback
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.source import EnvironmentSource
from pgfast.envs.spaces import SpaceInfo
from pgfast.random import Rng
from pgfast.runs.files import fsync_directory, temporary_name

__all__ = ["VideoResult", "record_video"]

_LARGEST_SIDE = 640  # pixels; smaller frames are enlarged by the largest whole factor that stays within


class Player(Protocol):
    """An agent, as far as a video needs it."""

    source: EnvironmentSource | None
    space: SpaceInfo

    def choose(self, obs: Array, rng: Rng, deterministic: bool) -> Array:
        """Actions for raw observations ``[B, ...]``."""


@dataclass(frozen=True)
class VideoResult:
    """A recorded game: where the film is, what it shows and whether the game ended in it."""

    path: Path
    frames: int
    frames_per_second: float
    score: float  # raw return
    length: int  # steps
    game_over: bool  # False where max_steps ended the film


def record_video(
    agent: Player, out: Path, *, seed: int = 0, deterministic: bool = False, max_steps: int | None = None
) -> VideoResult:
    """Plays one whole game and films it: an MP4 (H.264) that any browser and player shows.

    The policy sees what it saw in training, frozen normalisers included. An Atari game is the one that
    ``agent.evaluate(1, seed=seed)`` plays, all lives of it, and its film has every frame of the console, in colour, at
    60 per second. Other environments draw themselves, a frame per step, at their ``render_fps`` (30 if they have none).
    Frames smaller than 640 pixels are enlarged by a whole factor, without smoothing.

    Frames go to the encoder one by one; a film of any length needs the memory of one step. The file appears under its
    name once it is complete, and replaces one that is there; its directory is made.

    Args:
        agent: made from an environment id, or from a function that makes one environment with
            ``render_mode="rgb_array"``.
        out: the film, ending in ``.mp4``.
        seed: of the game and of the sampled actions.
        deterministic: plays the most probable actions. Such a policy can get into an endless loop (the ball in
            Breakout that never meets a brick), which then lasts until the environment's own limit.
        max_steps: ends the film after so many steps; None plays to the end of the game, or the environment's own limit
            (Atari: 108,000 frames, 27,000 steps, half an hour). An environment without a limit may play for ever.

    Raises: ``ImportError`` (imageio-ffmpeg is missing, or a package that the environment draws with), ``ValueError``
    (``out``, ``max_steps``, an agent without an environment or with one that cannot be drawn), ``RuntimeError`` (the
    Atari game that is drawn is not the one that is played; the encoder failed), ``OSError``. No film is left then.
    """
    out = Path(out)
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"record_video: out must end in .mp4, got {out}")
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"record_video: max_steps must be at least 1 or None, got {max_steps}")
    if agent.source is None:
        raise ValueError("record_video: this agent was loaded without an environment; give one to pgfast.load as env=")
    ffmpeg = _find_ffmpeg()
    rng = Rng.internal(seed, EVALUATION_ACTIONS)
    (environment_seed,) = environment_seeds(seed, 1, stream=EVALUATION_SEEDS)
    with closing(open_playback(agent.source)) as playback:
        found = SpaceInfo.of(playback.env.single_observation_space, playback.env.single_action_space)
        if found != agent.space:
            raise ValueError(f"record_video: the environment has {found}, the agent {agent.space}")
        observations, frames = playback.reset(environment_seed)
        count, score, length, game_over = len(frames), 0.0, 0, False
        out.parent.mkdir(parents=True, exist_ok=True)
        with _film(out, ffmpeg, frames[0].shape, playback.frames_per_second) as add:
            add(frames)
            while not game_over and length != max_steps:
                step = playback.step(agent.choose(observations, rng, deterministic))
                add(step.frames)
                observations, game_over = step.observations, step.game_over
                count += len(step.frames)
                score += step.score
                length += 1
    return VideoResult(out, count, playback.frames_per_second, score, length, game_over)


def _find_ffmpeg() -> str:
    try:
        ffmpeg = import_module("imageio_ffmpeg")
    except ImportError as error:
        raise ImportError('videos need imageio-ffmpeg: pip install "pgfast[video]"') from error
    return str(ffmpeg.get_ffmpeg_exe())


@contextmanager
def _film(
    path: Path, ffmpeg: str, shape: tuple[int, ...], frames_per_second: float
) -> Iterator[Callable[[list[Array]], None]]:
    """Gives a function that appends frames to an MP4 file; the file is whole when the block is left, or absent."""
    temporary = temporary_name(path)
    try:
        temporary.touch()  # so that a directory that cannot be written to is named as such
        with tempfile.TemporaryFile() as messages:

            def failure() -> RuntimeError:
                messages.seek(0)
                said = messages.read().decode(errors="replace").strip() or f"exit status {encoder.wait()}"
                return RuntimeError(f"record_video: the encoder failed: {said}")

            def add(frames: list[Array]) -> None:
                assert encoder.stdin is not None
                for frame in frames:
                    if frame.shape != shape:
                        raise ValueError(f"record_video: the first frame has shape {shape}, a later one {frame.shape}")
                    rest = np.ascontiguousarray(frame).data.cast("B")
                    try:
                        while rest:
                            rest = rest[encoder.stdin.write(rest) :]
                    except BrokenPipeError:
                        encoder.wait()
                        raise failure() from None

            with subprocess.Popen(
                [ffmpeg, *_encoding(shape, frames_per_second), f"file:{temporary}"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                start_new_session=True,  # Ctrl-C is for this process alone, which then stops the encoder
            ) as encoder:
                try:
                    yield add
                except BaseException:
                    encoder.kill()
                    raise
            if encoder.returncode != 0:
                raise failure()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):  # the caller knows nothing of the temporary name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)


def _encoding(shape: tuple[int, ...], frames_per_second: float) -> list[str]:
    """The encoder's arguments, all but the file."""
    height, width, _ = shape
    factor = max(1, _LARGEST_SIDE // max(height, width))
    width_out, height_out = factor * width, factor * height
    filters = [
        f"scale={width_out}:{height_out}:flags=neighbor,format=rgb24",
        f"pad={width_out + width_out % 2}:{height_out + height_out % 2}",  # colours are stored for 2 x 2 pixels
        "scale=flags=bicubic:out_color_matrix=bt709:out_range=tv,format=yuv420p",
        "setparams=color_primaries=bt709:color_trc=bt709",  # untagged, players guess
    ]
    source = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    return [
        *("-hide_banner", "-loglevel", "error", "-y"),
        *(*source, "-framerate", f"{frames_per_second:.10g}", "-i", "pipe:0"),
        *("-vf", ",".join(filters), "-c:v", "libx264", "-preset", "fast", "-crf", "20"),
        *("-movflags", "+faststart", "-f", "mp4"),  # the index first: a browser plays while it loads
    ]
