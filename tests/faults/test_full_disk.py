"""On a full or read-only disk, commands give a one-line error with the path, and existing files stay intact."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import find_write_error
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.pipelines.export.verify import verify
from driveforge.pipelines.plots.limits import plot_limits
from driveforge.pipelines.review.decisions import ReviewDecision, append_decision, read_decision_log
from driveforge.pipelines.review.static_copy import CopyContents, write_copy
from driveforge.pipelines.validate.measure import write_measures
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from tests.datasets.small_clips import small_clip
from tests.faults.small_run import contents, run_export, run_gate
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.review.small_review import open_small_review, small_config
from tests.pipelines.small_plans import generate_small


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The root of a file system of 4 MB."""
    root = tmp_path / "disk"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs to be root")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def run_on(disk: Path, finished_run: Path) -> Path:
    return Path(shutil.copytree(finished_run, disk / "run"))


def fill(disk: Path, free_bytes: int = 0) -> Path:
    """Fill the disk except for ``free_bytes``."""
    filler, free = disk / "filler", shutil.disk_usage(disk).free
    filler.write_bytes(bytes(max(0, free - free_bytes)))
    return filler


def calibrate_again(run_dir: Path) -> None:
    calibrate(some_measures(70), name="another").save(run_dir / "calibration.json")


def draw_again(run_dir: Path) -> None:
    plot_limits(run_dir / "calibration.png", Calibration.load(run_dir / "calibration.json"))


def measure_again(run_dir: Path) -> None:
    write_measures(run_dir / "measures.parquet", some_measures(5))


def write_clip(run_dir: Path) -> None:
    write_clip_folder(run_dir / "corrupted", small_clip("drive-1"))


def gate_again(run_dir: Path) -> None:
    run_gate(run_dir)


def export_again(run_dir: Path) -> None:
    run_export(run_dir)


STAGES = [gate_again, export_again, calibrate_again, draw_again, measure_again, write_clip]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_failed_write_is_named_and_other_files_stay_intact(
    disk: Path, finished_run: Path, stage: Callable[[Path], None], trouble: str
) -> None:
    run_dir = run_on(disk, finished_run)
    draw_again(run_dir)
    before = contents(run_dir)
    if trouble == "full":
        filler = fill(disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match=rf"{run_dir}.* cannot be written .*finished work is intact") as raised:
        stage(run_dir)
    assert len(str(raised.value)) <= 300 and "\n" not in str(raised.value)
    assert contents(run_dir) == before
    if trouble == "full":
        filler.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    stage(run_dir)
    assert verify(run_dir / "shards").ok


@pytest.mark.parametrize("room", [0, 16_384])
def test_generate_fails_on_a_full_disk_and_resumes_with_free_space(disk: Path, finished_run: Path, room: int) -> None:
    run_dir, whole = run_on(disk, finished_run), contents(finished_run)
    for unit in ("unit-000001", "unit-000004"):
        (run_dir / "candidates" / "_commits" / f"{unit}.json").unlink()
        next((run_dir / "candidates").glob(f"{unit}-*.tar")).unlink()
    filler, before = fill(disk, room), contents(run_dir)
    with pytest.raises(UserError, match=rf"{run_dir}/candidates/.* cannot be written \(No space left on device\)"):
        generate_small(run_dir / "candidates")
    after = {name: content for name, content in contents(run_dir).items() if "_attempts" not in name}
    assert after == before, "no unit is quarantined and no partial file is left"
    filler.unlink()
    assert generate_small(run_dir / "candidates").num_made == 4
    assert contents(run_dir) == whole


def test_review_fails_on_a_full_disk(disk: Path, finished_run: Path) -> None:
    run_dir = run_on(disk, finished_run)
    limits, folder = Calibration.load(run_dir / "calibration.json"), run_dir / "review" / "page"
    review = open_small_review(small_config(run_dir), run_gate(run_dir), limits)
    fill(disk, 30_000)
    with pytest.raises((UserError, OSError)) as error:
        write_copy(
            folder, review.table, review.session, review.media, title="a run", contents=CopyContents(max_clips=2)
        )
    assert str(find_write_error(error.value, run_dir) or error.value).count("cannot be written") == 1
    assert not folder.exists(), "nothing half-written has the final name"


def test_a_decision_on_a_full_disk_is_refused(disk: Path) -> None:
    path = disk / "decisions.jsonl"
    one = ReviewDecision(clip="a", reviewer="anna", verdict="accept", time="2026-01-31T10:00:00.000Z")
    append_decision(path, one)
    fill(disk, 0)
    with pytest.raises(UserError, match=r"cannot be (written|locked) \(No space left"):
        for _ in range(200):
            append_decision(path, one)
    log = read_decision_log(path)
    assert set(log.decisions) == {one}, "what was confirmed is kept"
