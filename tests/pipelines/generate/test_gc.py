"""What nothing refers to is listed with its reason, and removed only on request; everything else is kept."""

import os
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from driveforge.datasets.files.atomic_folder import create_scratch
from driveforge.datasets.stores.local import LocalStore
from driveforge.datasets.stores.opening import open_store
from driveforge.datasets.stores.working_copy import working_copy
from driveforge.pipelines.cli import main as command_line
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.gc import find_unreferenced, main
from tests.faults.killing import snapshot
from tests.pipelines.small_plans import generate_small

FRAMES = "first_frames/00112233445566778899aabbccddeeff.npy"
UNREFERENCED = {
    "unit-000000-deadbeef.tar": b"tar of an attempt",
    "unit-000099-deadbeef.tar": b"tar of another",
    FRAMES: b"frames",
    "scenes/00112233445566778899aabbccddeeff.json": b"scene",
    "_quarantine/unit-000001.json": b"{}",
    "_attempts/unit-000002.json": b"{}",
}
KEPT = {
    "unit-000000.tar": b"not our name",
    "notes.txt": b"of a user",
    "first_frames/mine.npy": b"of a user",
    "scenes/mine.json": b"of a user",
    "_quarantine/unit-000077.json": b"not committed yet",
}


@pytest.fixture(params=["local", "s3"])
def run_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A finished run folder, or the working copy of one in a store."""
    if request.param == "local":
        generate_small(tmp_path / "candidates")
        yield tmp_path
        return
    with working_copy(request.getfixturevalue("store_url"), (), print) as copy:
        generate_small(copy.folder / "candidates")
        yield copy.folder


def add_files(run_dir: Path) -> None:
    store = open_store(run_dir / "candidates")
    for name, content in (UNREFERENCED | KEPT).items():
        store.write(name, content)


def stored(run_dir: Path) -> set[str]:
    store = open_store(run_dir / "candidates")
    folders = ("", "_commits", "_quarantine", "_attempts", "first_frames", "scenes", "source_frames")
    return {f"{folder}/{file.name}".lstrip("/") for folder in folders for file in store.files(folder)}


def collect(run_dir: Path, *, delete: bool, hours: float = 0.0) -> None:
    main(compose([f"run_dir={run_dir}"]), Namespace(delete=delete, older_than=hours))


def test_unreferenced_files_are_listed_and_removed_on_request(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = stored(run_dir)
    collect(run_dir, delete=True)
    assert stored(run_dir) == whole, "of a finished run nothing is removed"
    add_files(run_dir)
    found = find_unreferenced(open_store(run_dir / "candidates"), 0)
    assert {one.name: one.num_bytes for one in found} == {name: len(c) for name, c in UNREFERENCED.items()}
    collect(run_dir, delete=False)
    assert stored(run_dir) == whole | UNREFERENCED.keys() | KEPT.keys()
    collect(run_dir, delete=True)
    assert stored(run_dir) == whole | KEPT.keys()
    total = sum(map(len, UNREFERENCED.values()))
    assert f"6 files, {total} B may be removed, with --delete" in " ".join(capsys.readouterr().out.split())


def test_in_a_store_recent_objects_are_kept(store_url: str) -> None:
    with working_copy(store_url, (), print) as copy:
        generate_small(copy.folder / "candidates")
        add_files(copy.folder)
        before = stored(copy.folder)
        collect(copy.folder, delete=True, hours=1.0)
        assert stored(copy.folder) == before


def test_what_killed_commands_left_on_disk_is_removed(tmp_path: Path) -> None:
    generate_small(tmp_path / "candidates")
    whole = snapshot(tmp_path)
    for name in (".unit-000003.0a1b2c3d.tmp", "..unit-000003.0a1b2c3d.tmp.tmp", "_commits/.unit-000003.json.tmp"):
        (tmp_path / "candidates" / name).write_bytes(b"half")
    create_scratch(tmp_path / ".review.tmp")
    (tmp_path / ".shards.tmp").mkdir()
    (tmp_path / ".shards.tmp" / "a.tar").write_bytes(b"of a user: the folder has no marker")
    collect(tmp_path, delete=True)
    assert snapshot(tmp_path) == whole | {
        ".shards.tmp": None,
        ".shards.tmp/a.tar": b"of a user: the folder has no marker",
    }


def test_without_a_plan_all_first_frames_are_kept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(FRAMES, b"frames")
    assert find_unreferenced(store, 0) == []


def test_it_waits_while_a_command_holds_the_run(tmp_path: Path) -> None:
    generate_small(tmp_path / "candidates")
    (tmp_path / "candidates" / "unit-000000-deadbeef.tar").write_bytes(b"in progress")
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        from driveforge.pipelines.run_dir import run_dir_lock

        with run_dir_lock(tmp_path):
            os.write(writer, b"x")
            time.sleep(2)
            is_kept = (tmp_path / "candidates" / "unit-000000-deadbeef.tar").exists()
        os._exit(0 if is_kept else 1)
    os.read(reader, 1)
    assert command_line(["gc", "--delete", f"run_dir={tmp_path}"]) == 0
    assert os.waitstatus_to_exitcode(os.waitpid(holder, 0)[1]) == 0
    assert not (tmp_path / "candidates" / "unit-000000-deadbeef.tar").exists()


def test_a_damaged_record_of_attempts_does_not_stop_it(tmp_path: Path) -> None:
    generate_small(tmp_path / "candidates")
    AttemptLog(tmp_path / "candidates").record_start("unit-000001")
    found = find_unreferenced(open_store(tmp_path / "candidates"), 0)
    assert [one.name for one in found] == ["_attempts/unit-000001.json"]
    assert CommitLog(tmp_path / "candidates").is_committed("unit-000001")
