"""Unsupported clip lengths and sizes are refused before anything is rendered or encoded."""

from dataclasses import replace
from pathlib import Path

import pytest

from driveforge.datasets.errors import MAX_LENGTH, UserError
from driveforge.datasets.folder_source import VideoFolderSource
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.inputs.sources import open_source
from driveforge.pipelines.registry.models import BASE, require_clip_size
from driveforge.pipelines.run.demo import require_long_enough
from driveforge.pipelines.simulate import VERSION, replay_root, simulate, tables_root
from driveforge.pipelines.train.cache import cache_driving
from tests.datasets.small_clips import small_clip
from tests.defaults import make_framing


@pytest.mark.parametrize("command", ["demo", "pretrain", "cache", "generate", "finetune", "run"])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.num_frames=16", "data.num_frames must be from 5 to 1021 in steps of 4, got 16; use 13 or 17"),
        ("data.num_frames=1", "data.num_frames must be from 5 to 1021, got 1"),
        ("data.height=98", "data.height must be from 16 to 4096 in steps of 16, got 98; use 96 or 112"),
    ],
)
def test_a_setting_is_refused_by_every_command(
    command: str, setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, setting, f"run_dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err == f"driveforge: {message}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["demo", "pretrain", "cache", "finetune", "run"])
def test_a_length_that_the_model_cannot_take_is_refused_by_every_command_that_trains(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "data.num_frames=65", f"run_dir={tmp_path / 'run'}"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("driveforge: data.num_frames=65, data.height=96, data.width=160: ")
    assert message.endswith("takes 1 + 4k frames up to 61, with sides that are multiples of 16 up to 1024\n")
    assert not any(path.suffix != ".lock" for path in (tmp_path / "run").rglob("*") if path.is_file())


@pytest.mark.parametrize(("trains", "num_frames"), [(True, 65), (False, 66)])
def test_clips_of_any_length_are_generated_but_not_trained_on(trains: bool, num_frames: int) -> None:
    config = compose()
    longer = replace(config, data=replace(config.data, num_frames=65))
    require_clip_size(longer, trains=False)
    with pytest.raises(UserError, match=f"data.num_frames={num_frames}"):
        require_clip_size(replace(config, data=replace(config.data, num_frames=num_frames)), trains=trains)


@pytest.mark.parametrize(("num_frames", "says"), [(8, "has 8 frames of 80x48"), (9, "")])
def test_shards_of_another_length_are_refused_before_they_are_encoded(
    num_frames: int, says: str, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    write_tar(shards / "a.tar", [("drive-1", clip_members(small_clip(num_frames=num_frames), {}))])
    config = compose(["data=shards", f"data.root={shards}", f"run_dir={tmp_path}"])
    if not says:
        assert len(cache_driving(config.data, BASE, config.run.latents)) == 1
        return
    with pytest.raises(UserError) as caught:
        cache_driving(config.data, BASE, config.run.latents)
    message = str(caught.value)
    assert says in message and "takes 1 + 4k frames up to 61" in message and len(message) <= MAX_LENGTH
    assert not (tmp_path / "latents").exists()


TINY = [
    "simulate.num_scenes=1", "simulate.seconds=3", "simulate.cameras=[CAM_FRONT]", "simulate.height=32",
    "simulate.width=48", "simulate.replay_clips=2", "simulate.replay_domains=[orbit, falling]",
]  # fmt: skip


@pytest.mark.parametrize(("rate", "num_frames"), [(10.0, 9), (20.0, 21)])
def test_simulated_replay_clips_are_long_enough_for_the_framing(rate: float, num_frames: int, tmp_path: Path) -> None:
    framing = make_framing(height=32, width=48, num_frames=num_frames, stride=num_frames)
    simulate(compose([*TINY, f"simulate.frame_rate={rate}"]).simulate, tmp_path, framing)
    scenes = VideoFolderSource(replay_root(tmp_path), framing).scenes()
    assert [scene.num_frames for scene in scenes] == [num_frames] * 2


def test_a_demo_with_clips_longer_than_its_recordings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "data.num_frames=33", "simulate.seconds=3", f"run_dir={tmp_path / 'run'}"]) == 2
    assert "data.num_frames=33 at data.frame_rate=10 takes 3.2 s" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_recording_as_long_as_a_clip_gives_one_clip(tmp_path: Path) -> None:
    framing = make_framing(height=32, width=48, num_frames=13, stride=13)
    settings = compose([*TINY, "simulate.seconds=1.2"]).simulate
    require_long_enough(settings, framing)
    simulate(settings, tmp_path, framing)
    data = ["data=nuscenes", f"data.root={tables_root(tmp_path)}", f"data.version={VERSION}", "data.split=all"]
    size = ["data.height=32", "data.width=48", "data.num_frames=13", "data.cameras=[CAM_FRONT]", "data.sweeps=true"]
    assert [scene.num_frames for scene in open_source(compose([*data, *size]).data).scenes()] == [13]
    with pytest.raises(UserError, match=r"set simulate\.seconds to 1\.2 or more"):
        require_long_enough(replace(settings, seconds=1.1), framing)
