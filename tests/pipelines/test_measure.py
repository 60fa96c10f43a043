from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets.folder_source import write_clip_folder
from datasets.scene import Clip
from pipelines.compose import compose
from pipelines.measure import main
from tests.pipelines.generators import FakeGenerator, first_frames_of
from tests.pipelines.scenes import driving_scene


def clip(clip_id: str) -> Clip:
    scene = driving_scene(clip_id, yaw_rate=0.1)
    return FakeGenerator().generate(scene, first_frames_of(scene), seed=0, settings=None)  # type: ignore[arg-type]


def test_a_set_with_a_bad_clip_is_measured_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    footage, out = tmp_path / "footage", tmp_path / "deep" / "m.parquet"
    for name in ("a", "b", "torn"):
        folder = write_clip_folder(footage, clip(name))
    video = next(folder.glob("*.mp4"))
    video.write_bytes(video.read_bytes()[:300])
    status = main(compose([f"run_dir={tmp_path}"]), Namespace(path=footage, out=out))
    rows = pq.read_table(out).to_pylist()
    assert status == 1
    assert {row["clip_id"] for row in rows} == {"a", "b"}
    assert all((row["value"] is None) == (row["state"] == "unmeasurable") for row in rows)
    assert all(row["why"] for row in rows if row["state"] == "unmeasurable")
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("torn:")]) == 1
    assert "2 clips measured, 1 could not be read" in printed


def test_a_good_set_goes_to_the_run_folder_and_is_a_success(tmp_path: Path) -> None:
    write_clip_folder(tmp_path / "footage", clip("a"))
    assert main(compose([f"run_dir={tmp_path}"]), Namespace(path=tmp_path / "footage", out=None)) == 0
    assert pq.read_table(tmp_path / "measures.parquet").num_rows > 0


@pytest.mark.real
def test_a_nuscenes_root_needs_no_more_than_its_path(tmp_path: Path, real_data: Path) -> None:
    root = real_data / "noncommercial" / "kitti_straight" / "nuscenes_format"
    out = tmp_path / "kitti.parquet"
    assert main(compose([f"run_dir={tmp_path}"]), Namespace(path=root, out=out)) == 0
    values = [row["value"] for row in pq.read_table(out).to_pylist() if row["value"] is not None]
    assert np.isfinite(values).all()
    assert values
