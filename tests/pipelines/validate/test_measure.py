import io
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines import cli
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.inputs.items import list_clips
from driveforge.pipelines.validate.measure import MeasureResult, main, measure_item
from tests.pipelines.generators import FakeGenerator, first_frames_of
from tests.pipelines.scenes import driving_scene
from tests.validation.street import commanded_yaw, street


def clip(clip_id: str) -> Clip:
    scene = driving_scene(clip_id, yaw_rate=0.1)
    return FakeGenerator().generate(scene, first_frames_of(scene), seed=0, settings=None)  # type: ignore[arg-type]


def test_a_set_with_a_bad_clip_is_measured_and_reports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    footage, out = tmp_path / "footage", tmp_path / "deep" / "m.parquet"
    for name in ("a", "b", "torn"):
        folder = write_clip_folder(footage, clip(name))
    video = next(folder.glob("*.mp4"))
    video.write_bytes(video.read_bytes()[:300])
    status = main(compose([f"run_dir={tmp_path}"]), Namespace(path=footage, out=out, pictures=None))
    rows = pq.read_table(out).to_pylist()
    assert status == 1
    assert {row["clip_id"] for row in rows} == {"a", "b"}
    assert all((row["value"] is None) == (row["state"] == "unmeasurable") for row in rows)
    assert all(row["reason"] for row in rows if row["state"] == "unmeasurable")
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("torn:")]) == 1
    assert "2 clips measured, 1 could not be read" in printed


def test_a_good_set_is_written_to_the_run_folder_with_status_0(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "footage", clip("a"))
    assert main(compose([f"run_dir={tmp_path}"]), Namespace(path=tmp_path / "footage", out=None, pictures=None)) == 0
    assert pq.read_table(tmp_path / "measures.parquet").num_rows > 0


def test_the_kind_of_path_can_be_given(tmp_path: Path) -> None:
    """Shards are detected first, so that videos next to them need data=video, but no data.root."""
    write_tar(tmp_path / "x-0.tar", [("in-shards", clip_members(clip("in-shards"), {}))])
    write_clip_folder(tmp_path, clip("video"))
    for words, clip_id in (([], "in-shards"), (["data=video"], "video")):
        assert cli.main(["measure", str(tmp_path), "--out", str(tmp_path / "m.parquet"), *words]) == 0
        assert {row["clip_id"] for row in pq.read_table(tmp_path / "m.parquet").to_pylist()} == {clip_id}


def test_a_set_without_clips_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "x-0.tar", [])
    with pytest.raises(UserError, match="holds no clip"):
        main(compose([]), Namespace(path=tmp_path, out=None, pictures=None))


@pytest.mark.real
def test_a_nuscenes_root_needs_only_its_path(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "noncommercial" / "kitti_straight" / "nuscenes_format"
    out = tmp_path / "kitti.parquet"
    assert main(compose([f"run_dir={tmp_path}"]), Namespace(path=root, out=out, pictures=None)) == 0
    values = [row["value"] for row in pq.read_table(out).to_pylist() if row["value"] is not None]
    assert np.isfinite(values).all()
    assert values


def drawn(footage: Path, pictures: Path, *overrides: str) -> int:
    """Runs ``driveforge measure footage --pictures pictures``; returns its status."""
    config = compose([f"run_dir={pictures.parent}", *overrides])
    return main(config, Namespace(path=footage, out=None, pictures=pictures))


def picture(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path))
    assert image is not None
    return np.asarray(image[..., ::-1], np.uint8)


def redness(image: NDArray[np.uint8]) -> int:
    """The number of red pixels."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    return int(((red > 180) & (green < 90) & (blue < 90)).sum())


def measured_clips(pictures: Path) -> set[str]:
    return {row["clip_id"] for row in pq.read_table(pictures.parent / "measures.parquet").to_pylist()}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of a good clip, of the same one under a wrong command, and of one with the same name without a pose.

    Another clip cannot be read, and the picture of one more cannot be written.
    """
    folder = tmp_path_factory.mktemp("drawing")
    good = street(num_frames=9)
    clips = {"good": good, "corrupted": commanded_yaw(good, 8.0), "blocked": good, "torn": good}
    for name, clip in clips.items():
        written = write_clip_folder(folder / "footage", clip.with_scene(clip_id=name))
    write_clip_folder(folder / "footage" / "later", good.with_scene(clip_id="good", ego_to_world=None, tracks=()))
    next(written.glob("*.mp4")).write_bytes(b"no video")
    (folder / "pictures" / "blocked.png").mkdir(parents=True)
    with redirect_stdout(io.StringIO()) as output:
        assert drawn(folder / "footage", folder / "pictures") == 1
    (folder / "output.txt").write_text(output.getvalue())
    return folder / "pictures"


def test_every_clip_that_can_be_read_has_a_picture_of_its_name(pictures: Path) -> None:
    assert sorted(path.name for path in pictures.glob("*.png") if path.is_file()) == [
        "corrupted.png",
        "good-2.png",
        "good.png",
    ]
    assert measured_clips(pictures) == {"good", "corrupted", "blocked"}


def test_pictures_are_of_one_width_and_small(pictures: Path) -> None:
    for path in (path for path in pictures.iterdir() if path.is_file()):
        height, width, _ = picture(path).shape
        assert width == 1600
        assert 900 < height < 1700
        assert path.stat().st_size < 400_000


def test_tracks_are_red_where_the_command_is_wrong(pictures: Path) -> None:
    good, corrupted = (redness(picture(pictures / name)) for name in ("good.png", "corrupted.png"))
    assert corrupted > 1000 + 4 * good


def test_a_clip_without_a_pose_has_fewer_curves(pictures: Path) -> None:
    """There are no residuals without a command."""
    assert len(picture(pictures / "good-2.png")) < len(picture(pictures / "good.png")) - 200


def test_a_picture_that_cannot_be_written_does_not_affect_others(pictures: Path) -> None:
    """There is a folder at the path of the picture of the clip ``blocked``."""
    assert (pictures / "blocked.png").is_dir()
    assert "blocked" in measured_clips(pictures)
    output = (pictures.parent / "output.txt").read_text()
    assert "blocked.png cannot be written" in output
    assert "4 clips measured, 1 could not be read" in output
    assert "3 pictures in" in output


def test_a_clip_that_cannot_be_drawn_keeps_its_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bytes:
        raise ValueError("nothing to draw on")

    monkeypatch.setattr("driveforge.pipelines.plots.measured_clip.plot_measured_clip", fail)
    (item,) = list_clips(write_clip_folder(tmp_path, clip("a")))
    result = measure_item(item, with_picture=True)
    assert isinstance(result, MeasureResult)
    assert result.measures is not None and result.measures.clip_id == "a"
    assert (result.picture, result.error) == (None, "ValueError: nothing to draw on")


@pytest.mark.parametrize(
    ("folder", "calibration", "message"), [("file", "", "cannot be used for --pictures"), ("new", "no.json", "no.json")]
)
def test_a_wrong_request_fails_before_any_work(folder: str, calibration: str, message: str, tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "footage", clip("a"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=message):
        drawn(
            tmp_path / "footage", tmp_path / folder, *([f"validate.calibration={calibration}"] if calibration else [])
        )
    assert not (tmp_path / "measures.parquet").exists()
