from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from driveforge.datasets.folder_source import VideoFolderSource, write_clip_folder
from driveforge.datasets.geometry import inverse, yaw_from_pose
from driveforge.datasets.scene import Clip
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.cli import main
from driveforge.validation.corruptions.catalog import CORRUPTIONS
from tests.pipelines.generators import FakeGenerator, first_frames_of
from tests.pipelines.scenes import driving_scene


def clip(clip_id: str) -> Clip:
    scene = driving_scene(clip_id, yaw_rate=0.1)
    return FakeGenerator().generate(scene, first_frames_of(scene), seed=0, settings=None)  # type: ignore[arg-type]


def test_a_clip_folder_is_corrupted_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = write_clip_folder(tmp_path / "good", clip("a")), tmp_path / "corrupted"
    before = {path.name: path.read_bytes() for path in good.iterdir()}
    assert main(["corrupt", str(good), "--type", "yaw-rate", "--strength", "3", "--seed", "7", "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in good.iterdir()} == before
    folder = out / "a-yaw-rate-3-seed-7"
    assert str(folder) in capsys.readouterr().out
    (scene,) = VideoFolderSource(folder, None).scenes()
    turned = np.diff(yaw_from_pose(inverse(clip("a").scene.ego_to_world) @ scene.ego_to_world)) * 10
    np.testing.assert_allclose(np.abs(np.degrees(turned)), 3.0, atol=1e-6)
    assert main(["measure", str(out), "--out", str(tmp_path / "m.parquet"), f"run_dir={tmp_path}"]) == 0
    assert set(pq.read_table(tmp_path / "m.parquet")["clip_id"].to_pylist()) == {"a-yaw-rate-3-seed-7"}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    good = write_clip_folder(tmp_path / "good", clip("a"))
    written = []
    for name in ("one", "other"):
        assert main(["corrupt", str(good), "--type", "boil", "--out", str(tmp_path / name)]) == 0
        folder = tmp_path / name / "a-boil-14-seed-0"
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"front.mp4", "scene.json"}


def test_existing_clips_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = write_clip_folder(tmp_path / "good", clip("a")), tmp_path / "out"
    theirs = out / "a-boil-14-seed-0"
    theirs.mkdir(parents=True)
    (theirs / "scene.json").write_text("years of work")
    assert main(["corrupt", str(good), "--type", "boil", "--out", str(out)]) == 1
    assert "exists already and is not replaced" in "".join(capsys.readouterr().out.splitlines())
    assert [path.name for path in out.iterdir()] == [theirs.name]
    assert [path.name for path in theirs.iterdir()] == ["scene.json"]
    assert (theirs / "scene.json").read_text() == "years of work"


def test_every_clip_of_a_set_is_corrupted_if_possible(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posed, bare = clip("posed"), clip("bare").with_scene(ego_to_world=None, tracks=())
    write_tar(tmp_path / "x-0.tar", ((c.scene.clip_id, clip_members(c, {})) for c in (posed, bare)))
    assert main(["corrupt", str(tmp_path), "--type", "speed", "--out", str(tmp_path / "out")]) == 1
    output = capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["posed-speed-40-seed-0"]
    assert "not corrupted: bare: speed needs an ego pose and a calibrated camera" in output
    assert "1 of 2 clips corrupted by speed, 40 %" in output


def test_a_cut_uses_the_other_clip(tmp_path: Path) -> None:
    good, other = (write_clip_folder(tmp_path / "good", clip(name)) for name in ("a", "b"))
    out = ["--out", str(tmp_path / "out")]
    assert main(["corrupt", str(good), "--type", "cut", "--other", str(other), "--strength", "100", *out]) == 0
    sources = [VideoFolderSource(path, None) for path in (tmp_path / "out", other, good)]
    corrupted, wanted, own = (source.load(source.scenes()[0]).frames.astype(int) for source in sources)
    assert 5 * np.abs(corrupted - wanted).mean() < np.abs(corrupted - own).mean()


def test_the_types_are_listed_with_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corrupt", "--type", "list"]) == 0
    output = capsys.readouterr().out
    for name, tags in CORRUPTIONS.items():
        (line,) = (line for line in output.splitlines() if f" {name} " in line)
        assert line.split()[:2] == [f"{tags.mild:g}", f"{tags.strong:g}"]
        assert tags.unit in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--type", "yaw_rate"], "no corruption type 'yaw_rate'; did you mean yaw-rate?"),
        (["--type", "freeze", "--strength", "0.5"], "the strength of freeze must be a whole number of frames, got 0.5"),
        (
            ["--type", "vanish", "--strength", "200"],
            "the strength of vanish must be from 0 to 100 (% of frames), got 200",
        ),
        (["--type", "cut"], "cut needs a clip from another place; give --other CLIP"),
        (["--strength", "3"], "the following arguments are required: --type; see driveforge corrupt --help"),
    ],
)
def test_a_wrong_command_is_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_clip_folder(tmp_path / "good", clip("a"))
    assert main(["corrupt", str(good), *words, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == f"driveforge: {line}\n"
    assert not (tmp_path / "out").exists()


def test_a_clip_and_an_output_folder_are_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corrupt", "--type", "boil"]) == 2
    assert capsys.readouterr().err == "driveforge: give a clip to corrupt and --out; see driveforge corrupt --help\n"
