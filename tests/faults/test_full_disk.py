"""On a real disk that is full or read-only: one line that names the path, and all that was there whole."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.folder_source import write_clip_folder
from driveforge.pipelines.export import export
from driveforge.pipelines.plots.limits import plot_limits
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import gate
from driveforge.pipelines.validate.measure import write_measures
from driveforge.pipelines.validate.review import write_review
from driveforge.pipelines.verify import verify
from driveforge.validation.calibration import Calibration
from driveforge.validation.cross_conformal import calibrate
from tests.datasets.small_clips import small_clip
from tests.faults.small_run import config_of, contents
from tests.pipelines.measure_sets import some_measures
from tests.pipelines.small_plans import generate_small


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The root of a file system of four megabytes."""
    root = tmp_path / "disk"
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs to be root")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def run_on(disk: Path, finished_run: Path) -> Path:
    return Path(shutil.copytree(finished_run, disk / "run"))


def fill(disk: Path, but: int = 0) -> Path:
    """Leave no more room than ``but`` bytes."""
    filler, free = disk / "filler", shutil.disk_usage(disk).free
    filler.write_bytes(bytes(max(0, free - but)))
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
    gate(RunDir(run_dir), RunDir(run_dir).calibration)


def export_again(run_dir: Path) -> None:
    export(RunDir(run_dir), config_of(run_dir).export)


STAGES = [gate_again, export_again, calibrate_again, draw_again, measure_again, write_clip]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_what_cannot_be_written_is_named_and_all_else_is_whole(
    disk: Path, finished_run: Path, stage: Callable[[Path], None], trouble: str
) -> None:
    run_dir = run_on(disk, finished_run)
    draw_again(run_dir)
    before = contents(run_dir)
    if trouble == "full":
        filler = fill(disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match=rf"{run_dir}.* cannot be written .*finished work is intact") as told:
        stage(run_dir)
    assert len(str(told.value)) <= 300 and "\n" not in str(told.value)
    assert contents(run_dir) == before
    if trouble == "full":
        filler.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    stage(run_dir)
    assert verify(run_dir / "shards").ok


@pytest.mark.parametrize("room", [0, 16_384])
def test_generate_ends_where_the_disk_is_full_and_goes_on_when_there_is_room(
    disk: Path, finished_run: Path, room: int
) -> None:
    run_dir, whole = run_on(disk, finished_run), contents(finished_run)
    for unit in ("unit-000001", "unit-000004"):
        (run_dir / "candidates" / "_commits" / f"{unit}.json").unlink()
        next((run_dir / "candidates").glob(f"{unit}-*.tar")).unlink()
    filler, before = fill(disk, room), contents(run_dir)
    with pytest.raises(UserError, match=rf"{run_dir}/candidates/.* cannot be written \(No space left on device\)"):
        generate_small(run_dir / "candidates")
    after = {name: content for name, content in contents(run_dir).items() if "_attempts" not in name}
    assert after == before, "no unit was set aside, nothing half-written has a name"
    filler.unlink()
    assert generate_small(run_dir / "candidates").num_made == 4
    assert contents(run_dir) == whole


def test_a_review_ends_where_the_disk_is_full(disk: Path, finished_run: Path) -> None:
    run_dir = run_on(disk, finished_run)
    decisions, limits = (
        gate(RunDir(run_dir), RunDir(run_dir).calibration),
        Calibration.load(run_dir / "calibration.json"),
    )
    fill(disk, 30_000)
    with pytest.raises(UserError, match=rf"{run_dir}/review.* cannot be written"):
        write_review(run_dir / "review", decisions, limits)
