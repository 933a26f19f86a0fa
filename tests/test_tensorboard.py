"""TensorBoard events, read in the way of TensorBoard."""

from __future__ import annotations

import importlib
import math
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

import pgfast
from pgfast.cli import main
from pgfast.reporting import tensorboard
from pgfast.reporting.tensorboard import TensorBoardLog
from pgfast.runs.progress_log import read_progress
from test_training import agent, resume_to

pytest.importorskip("tensorboardX")


def read_events(directory: Path) -> list[Any]:
    """All events: records of a length (8 bytes), its checksum (4), the event, its checksum (4)."""
    event_type = importlib.import_module("tensorboardX.proto.event_pb2").Event
    events = []
    for file in sorted(directory.glob("events.out.tfevents.*")):
        data, position = file.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack_from("<Q", data, position)
            events.append(event_type.FromString(data[position + 12 : position + 12 + length]))
            position += 16 + length
    return events


def read_scalars(directory: Path) -> list[tuple[str, int, float]]:
    return [
        (value.tag, event.step, value.simple_value)
        for event in read_events(directory)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def metadata_of(directory: Path) -> dict[str, Any]:
    return {value.tag: value.metadata for event in read_events(directory) for value in event.summary.value}


def learn(path: Path, callback: Any = None, **settings: Any) -> pgfast.A2C:
    return agent(**settings).learn(120, run_dir=path, callback=callback)


def test_known_numbers_become_scalars_in_groups(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.write({"timesteps": 100, "return_mean": 1.5, "return_std": math.nan, "entropy": math.nan, "wall_time": 3})
    log.write({"timesteps": 200, "return_mean": 2.5, "policy_loss": 0.5})
    log.close()
    assert read_scalars(tmp_path) == [
        *[("rollout/return_mean", 100, 1.5), ("time/wall_time", 100, 3.0)],
        *[("rollout/return_mean", 200, 2.5), ("train/policy_loss", 200, 0.5)],
    ]


def test_scalars_have_labels_that_both_readers_of_tensorboard_show(tmp_path: Path) -> None:
    learn(tmp_path / "run")
    metadata = metadata_of(tmp_path / "run")["time/steps_per_second"]
    assert (metadata.plugin_data.plugin_name, metadata.display_name) == ("scalars", "speed")
    assert metadata.summary_description == "speed since the row before, in steps/s"
    assert b"\x20\x01" in metadata.SerializeToString()  # the data class


def test_a_run_has_its_numbers_under_the_groups_that_people_know(tmp_path: Path) -> None:
    class Distance(pgfast.Callback[pgfast.A2C]):
        metrics = ("distance", pgfast.Metric("height", "height of the cart", unit="m", group="cart"))

        def on_row(self, agent: pgfast.A2C, row: dict[str, float]) -> None:
            row |= {"distance": 1.5, "height": 2}

    learn(tmp_path / "run", Distance(), eval_every=60, eval_episodes=2)
    scalars = read_scalars(tmp_path / "run")
    by_group: dict[str, set[str]] = {}
    for tag, _, _ in scalars:
        by_group.setdefault(tag.split("/")[0], set()).add(tag.split("/")[1])
    assert by_group.keys() == {"rollout", "train", "time", "eval", "custom", "cart"}
    assert {"return_mean", "return_std", "length_mean"} <= by_group["rollout"]
    assert {"policy_loss", "value_loss", "entropy", "explained_variance", "learning_rate"} <= by_group["train"]
    assert {"updates", "episodes", "steps_per_second", "wall_time"} <= by_group["time"]
    assert by_group["eval"] >= {"return_mean", "return_std", "length_mean"}
    assert [(step, value) for tag, step, value in scalars if tag == "cart/height"] == [(60, 2.0), (120, 2.0)]
    assert metadata_of(tmp_path / "run")["cart/height"].display_name == "height of the cart"
    evaluations = read_progress(tmp_path / "run" / "evaluations.csv")
    written = [(step, value) for tag, step, value in scalars if tag == "eval/return_mean"]
    assert written == list(zip(evaluations["timesteps"], evaluations["return_mean"], strict=True))


def test_hyperparameters_and_configuration(tmp_path: Path) -> None:
    learn(tmp_path / "run", seed=3)
    data_type = importlib.import_module("tensorboardX.proto.plugin_hparams_pb2").HParamsPluginData
    metadata = metadata_of(tmp_path / "run")

    def content(tag: str) -> Any:
        return data_type.FromString(metadata[f"_hparams_/{tag}"].plugin_data.content)

    hparams = content("session_start_info").session_start_info.hparams
    assert hparams["algo"].string_value == "a2c"
    assert hparams["seed"].number_value == 3
    assert hparams["hidden_sizes"].string_value == "8"
    assert hparams["normalize_rewards"].HasField("bool_value")
    assert "checkpoint_every" not in hparams  # None
    assert content("session_end_info").session_end_info.status == 1  # success
    (text,) = [
        value for event in read_events(tmp_path / "run") for value in event.summary.value if value.tag == "config"
    ]
    assert text.metadata.plugin_data.plugin_name == "text"
    lines = text.tensor.string_val[0].decode().splitlines()
    assert [line.removeprefix("    ") for line in lines] == (tmp_path / "run" / "config.json").read_text().splitlines()


def test_a_run_that_fails_has_no_end_and_a_resumed_one_its_settings_once(tmp_path: Path) -> None:
    def fail(trained: pgfast.A2C, row: dict[str, float]) -> None:
        raise ZeroDivisionError

    def tags() -> list[str]:
        return [value.tag for event in read_events(tmp_path / "run") for value in event.summary.value]

    with pytest.raises(ZeroDivisionError):
        learn(tmp_path / "run", fail)
    assert "_hparams_/session_end_info" not in tags()
    resume_to(tmp_path / "run", 120)
    assert tags().count("_hparams_/session_start_info") == tags().count("config") == 1
    assert "_hparams_/session_end_info" in tags()


@pytest.mark.parametrize("replaced", [False, True])
def test_the_directory_is_announced_to_a_replaced_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    """W&B's TensorBoard sync replaces this class by one that notes its directory."""
    module = importlib.import_module("tensorboardX.writer")
    announced: list[str] = []

    class Noting(module.EventFileWriter):  # type: ignore[misc, name-defined]
        def __init__(self, logdir: str) -> None:
            announced.append(logdir)
            super().__init__(logdir)

    if replaced:
        monkeypatch.setattr(module, "EventFileWriter", Noting)
    learn(tmp_path / "run")
    assert announced == [str(tmp_path / "run")] * replaced
    files = sorted((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(files) == 1 + replaced
    assert files[-1].stat().st_size == max(file.stat().st_size for file in files)  # the one that is read last
    assert threading.active_count() == 1


def test_the_video_of_a_run_is_a_moving_picture(tmp_path: Path) -> None:
    for package in ("imageio_ffmpeg", "pygame"):
        pytest.importorskip(package)
    learn(tmp_path / "run")
    before = sorted((tmp_path / "run").iterdir())
    assert main(["video", str(tmp_path / "run"), "--seed", "5"]) == 0
    videos = tmp_path / "run" / "videos"
    assert sorted((tmp_path / "run").iterdir()) == sorted([*before, videos])
    (value,) = [value for event in read_events(videos) for value in event.summary.value]
    assert value.tag == "video/CartPole-v1-5"
    assert value.image.encoded_image_string.startswith(b"GIF89a")
    assert (value.image.width, value.image.height) == (320, 213)
    assert [event.step for event in read_events(videos) if event.HasField("summary")] == [120]
    assert main(["video", str(tmp_path / "run"), "--out", str(tmp_path / "b.mp4")]) == 0  # elsewhere: no picture
    assert len(read_events(videos)) == 2


def test_resuming_purges_the_events_after_the_checkpoint(tmp_path: Path) -> None:
    first = TensorBoardLog(tmp_path)
    first.write({"timesteps": 100, "return_mean": 1.0})
    first.close()
    second = TensorBoardLog(tmp_path, purge_step=101)
    second.close()
    starts = [event.step for event in read_events(tmp_path) if event.HasField("session_log")]
    assert starts == [101]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(tensorboard, "import_module", missing)
    with pytest.raises(ImportError, match=r'pip install "pgfast\[tensorboard\]"'):
        TensorBoardLog(tmp_path)
