"""Verdicts on clips of any origin, through the command line and from Python."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import driveforge
from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.nuscenes.writer import NuScenesWriter
from driveforge.datasets.scene import Clip
from driveforge.datasets.select_frames import select_clip_frames
from driveforge.datasets.video import encode_mp4
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines import cli
from driveforge.validation.calibration import Calibration
from tests.validation.limits import limits_at
from tests.validation.street import commanded_yaw, street

KEYS = ["clip_id", "state", "score", "limit", "reasons"]
REASON_KEYS = ["code", "measure", "value", "limit", "frames", "track", "text"]
# One measure of each family of a single camera; only a wrong turn exceeds its limit.
LIMITS = {
    "track_epipolar": 50.0,
    "pose_yaw": 3.0,
    "object_residual": 50.0,
    "time_track_loss": 0.99,
    "object_blockiness": 50.0,
    "detail_loss": 50.0,
}


@pytest.fixture(scope="module")
def good() -> Clip:
    return street(num_frames=9)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "limits" / "calibration.json"
    path.parent.mkdir()
    limits_at("by hand", LIMITS, note="FOR TESTS.").save(path)
    return path


def judged(
    capsys: pytest.CaptureFixture[str], path: Path, calibration: Path, *words: str
) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the JSON of ``driveforge judge PATH --json``, whose keys are checked."""
    status = cli.main(["judge", str(path), "--json", f"validate.calibration={calibration}", *words])
    verdicts = json.loads(capsys.readouterr().out)
    assert all(list(verdict) == KEYS for verdict in verdicts)
    assert all(list(reason) == REASON_KEYS for verdict in verdicts for reason in verdict["reasons"])
    return status, verdicts


def test_a_set_of_clip_folders_is_judged_clip_by_clip(
    tmp_path: Path, good: Clip, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    footage, out = tmp_path / "footage", tmp_path / "deep" / "out"
    clips = {
        "a-good": good,
        "b-turns": commanded_yaw(good, 8.0),
        "c-short": select_clip_frames(good, np.arange(3)),
        "d-torn": good,
    }
    for name, clip in clips.items():
        folder = write_clip_folder(footage, clip.with_scene(clip_id=name))
    next(folder.glob("*.mp4")).write_bytes(b"no video")
    pictures = tmp_path / "pictures"
    status, verdicts = judged(capsys, footage, calibration, "--out", str(out), "--pictures", str(pictures))
    assert status == 1
    assert {v["clip_id"]: v["state"] for v in verdicts} == {
        "a-good": "accepted",
        "b-turns": "rejected",
        "c-short": "unmeasured",
        "d-torn": "unmeasured",
    }
    accepted, rejected, short, torn = verdicts
    assert accepted["reasons"] == [] and accepted["score"] <= accepted["limit"] == 0.0
    assert rejected["score"] > rejected["limit"]
    reason = rejected["reasons"][0]
    assert (reason["code"], reason["measure"], reason["limit"]) == ("POSE_YAW", "pose_yaw", pytest.approx(3.0))
    assert reason["value"] > 3.0 and "pose_yaw" in reason["text"]
    assert {reason["code"] for reason in short["reasons"]} == {"UNMEASURED"} and short["score"] is None
    (unread,) = torn["reasons"]
    assert (unread["code"], torn["score"], torn["limit"]) == ("UNREADABLE", None, None)
    assert "cannot be" in unread["text"] or "no video" in unread["text"]
    rows = pq.read_table(out / "verdicts.parquet").to_pylist()
    assert [{key: row[key] for key in KEYS} for row in rows] == verdicts
    assert {row["calibration"] for row in rows} == {"by hand"}
    measured = {row["clip_id"] for row in pq.read_table(out / "measures.parquet").to_pylist()}
    assert measured == {"a-good", "b-turns", "c-short"}
    assert {path.stem for path in pictures.glob("*.png")} == measured


def shards(root: Path, clip: Clip) -> None:
    root.mkdir(exist_ok=True)
    write_tar(root / "part-0.tar", [(clip.scene.clip_id, clip_members(clip, {}))])


def video(root: Path, clip: Clip) -> None:
    root.mkdir(exist_ok=True)
    (root / "Street 0.mp4").write_bytes(encode_mp4(clip.frames[0], 10.0))


def nuscenes(root: Path, clip: Clip) -> None:
    front = replace(clip.scene.cameras[0], name="CAM_FRONT")
    with NuScenesWriter(root) as writer:
        writer.add_recording(replace(clip.scene, cameras=(front,)), lambda view, t: clip.frames[view, t])


@pytest.mark.parametrize(("write", "has_command"), [(shards, True), (video, False), (nuscenes, True)])
def test_the_kind_of_path_is_detected(
    write: Any, has_command: bool, tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plain video has no commanded turn that its pixels could contradict, so it is accepted."""
    write(tmp_path / "clips", commanded_yaw(street(num_frames=9), 8.0))
    status, (verdict,) = judged(capsys, tmp_path / "clips", calibration)
    assert verdict["clip_id"].startswith("street-0")
    assert (status, verdict["state"]) == ((1, "rejected") if has_command else (0, "accepted"))


def test_the_kind_of_path_can_be_given(
    tmp_path: Path, good: Clip, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shards are detected first, so that videos next to them need data=video."""
    shards(tmp_path / "clips", good.with_scene(clip_id="in-shards"))
    video(tmp_path / "clips", good)
    _, verdicts = judged(capsys, tmp_path / "clips", calibration, "data=video")
    assert [verdict["clip_id"] for verdict in verdicts] == ["street-0"]


def test_the_table_is_in_words(
    tmp_path: Path, good: Clip, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, clip in {"fine": good, "turns": commanded_yaw(good, 8.0)}.items():
        write_clip_folder(tmp_path / "clips", clip.with_scene(clip_id=name))
    video(tmp_path / "clips", good)
    assert cli.main(["judge", str(tmp_path / "clips"), f"validate.calibration={calibration}"]) == 1
    shown = capsys.readouterr().out
    assert "fine" in shown and "rejected" in shown and "pose_yaw" in shown and " / 0.00" in shown
    assert "1 without ego pose or intrinsics: motion not checked, only pixels" in shown
    assert "2 accepted, 1 rejected, 0 unmeasured; limits: by hand. FOR TESTS." in shown
    assert list(tmp_path.rglob("*.parquet")) == [], "nothing is written without --out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give validate.calibration=FILE"),
        (["validate.calibration=absent.json"], "absent.json does not exist"),
        (["validate.calibration={limits}", "--out", "{file}"], "cannot be used for --out"),
        (["validate.calibration={limits}", "--pictures", "{file}"], "cannot be used for --pictures"),
        (["validate.calibration={limits}", "data=nuscenes"], "holds no clips for data=nuscenes"),
        (["validate.calibration={limits}", "data=video", "data.root=other"], "leave out data.root"),
        (["validate.calibration={limits}", "data=vide"], "did you mean data=video?"),
        (["validate.calibration={other}"], "tracked by cotracker, not by lucas_kanade"),
    ],
)
def test_a_wrong_command_is_one_line_before_any_work(
    words: list[str], message: str, tmp_path: Path, calibration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip_folder(tmp_path / "clips", street(num_frames=3))
    (tmp_path / "file").write_text("")
    replace(Calibration.load(calibration), tracker="cotracker").save(tmp_path / "other.json")
    paths = {"limits": calibration, "file": tmp_path / "file", "other": tmp_path / "other.json"}
    filled = [word.format(**paths) for word in words]
    assert cli.main(["judge", str(tmp_path / "clips"), "--json", *filled]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and message in output.err


def test_from_python_clips_items_and_a_path_give_the_same_verdicts(
    tmp_path: Path, good: Clip, calibration: Path
) -> None:
    limits = driveforge.Calibration.load(calibration)
    for name, clip in {"a": good, "b": commanded_yaw(good, 8.0), "torn": good}.items():
        folder = write_clip_folder(tmp_path / "clips", clip.with_scene(clip_id=name))
    next(folder.glob("*.mp4")).write_bytes(b"no video")
    verdicts = driveforge.judge_clips(tmp_path / "clips", limits)
    assert [verdict.state for verdict in verdicts] == ["accepted", "rejected", "unmeasured"]
    items = driveforge.list_clips(tmp_path / "clips")
    assert driveforge.judge_clips(items, limits) == verdicts
    loaded = (item.load() for item in items[:2])
    assert driveforge.judge_clips(loaded, limits) == verdicts[:2]
    assert driveforge.judge_clips(str(tmp_path / "clips"), limits)[0].score == verdicts[0].score
    with pytest.raises(UserError, match="tracked by cotracker"):
        driveforge.judge_clips([good], replace(limits, tracker="cotracker"))
