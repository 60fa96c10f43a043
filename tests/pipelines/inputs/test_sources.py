from pathlib import Path

import numpy as np
import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.video import encode_mp4
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.inputs.sources import open_pretraining, open_replay, open_source


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    folder = tmp_path / "street"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (12, 48, 80, 3), np.uint8)
    (folder / "video.mp4").write_bytes(encode_mp4(frames, 10.0))
    return tmp_path


def test_simulated_clips_come_in_equal_parts_over_the_domains() -> None:
    source = open_source(compose(["data.num_scenes=5", "data.domains=[driving-day, driving-rain]"]).data)
    assert len(source) == 6
    assert [scene.domain for scene in source.scenes()[2:4]] == ["driving-day", "driving-rain"]


def test_no_domain_is_a_clear_error() -> None:
    with pytest.raises(UserError, match="names no domain"):
        open_source(compose(["data.domains=[]"]).data)


def test_a_folder_of_videos_is_brought_to_the_framing(footage: Path) -> None:
    sizes = ["data.height=32", "data.width=48", "data.num_frames=5", "data.stride=5"]
    source = open_source(compose(["data=video", f"data.root={footage}", "data.domain=street", *sizes]).data)
    clip = source.load(source.scenes()[0])
    assert clip.frames.shape == (1, 5, 32, 48, 3)
    assert clip.scene.domain == "street"


def test_replay_comes_from_footage_or_from_the_procedural_domains(footage: Path) -> None:
    framing = compose(["data.num_frames=5", "data.stride=5"]).data.framing
    assert [
        scene.num_frames for scene in open_replay(compose([f"replay.root={footage}"]).replay, framing).scenes()
    ] == [5, 5]
    simulated = open_replay(compose(["replay.domains=[orbit, falling]", "replay.num_scenes=2"]).replay, framing)
    assert [scene.domain for scene in simulated.scenes()] == ["orbit", "falling"]


def test_pretraining_reads_all_of_its_domains() -> None:
    pretrain = compose(["pretrain.num_scenes=7"]).pretrain
    assert {scene.domain for scene in open_pretraining(pretrain, compose().data.framing).scenes()} == set(
        pretrain.domains
    )
