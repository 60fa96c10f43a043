"""Working copies of a run folder in a store, on two machines."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from driveforge.datasets.errors import UserError
from driveforge.datasets.stores.interface import Store
from driveforge.datasets.stores.opening import open_store, share
from driveforge.datasets.stores.remote import RemoteStore
from driveforge.datasets.stores.working_copy import WorkingCopy, working_copy
from driveforge.pipelines.processes.environment import environment

Machine = Callable[[str], WorkingCopy]


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def machine(store_url: str, tmp_path: Path, messages: list[str]) -> Machine:
    """A command that starts on the named machine."""

    def start(name: str) -> WorkingCopy:
        with environment({"DRIVEFORGE_CACHE": str(tmp_path / name)}), ExitStack() as stack:
            return stack.enter_context(working_copy(store_url, (), messages.append))

    return start


def write(copy: WorkingCopy, name: str, content: str) -> None:
    (copy.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (copy.folder / name).write_text(content)


def read(copy: WorkingCopy, name: str) -> str:
    return (copy.folder / name).read_text()


def stored(url: str) -> dict[str, bytes]:
    store = RemoteStore(url)
    return {entry["path"]: store.read(entry["path"]) for entry in store.walk()}


def test_files_reach_another_machine_and_come_back_changed(machine: Machine, store_url: str) -> None:
    first = machine("a")
    write(first, "settings.yaml", "1")
    write(first, "model/weights", "w")
    first.upload()
    second = machine("b")
    assert (read(second, "settings.yaml"), read(second, "model/weights")) == ("1", "w")
    write(second, "settings.yaml", "22")
    (second.folder / "model/weights").unlink()
    second.upload()
    third = machine("a")
    assert read(third, "settings.yaml") == "22" and not (third.folder / "model/weights").exists()
    assert stored(store_url) == {"settings.yaml": b"22"}


def test_of_two_commands_at_once_the_second_is_told(machine: Machine, store_url: str) -> None:
    first, second = machine("a"), machine("b")
    write(first, "verdicts.parquet", "one")
    write(second, "verdicts.parquet", "two")
    first.upload()
    with pytest.raises(
        UserError, match=rf"^{store_url}/verdicts.parquet was changed by another command .* run this again"
    ):
        second.upload()
    assert stored(store_url) == {"verdicts.parquet": b"one"}


def test_two_commands_may_write_the_same_bytes(machine: Machine, store_url: str) -> None:
    first, second = machine("a"), machine("b")
    for copy in (first, second):
        write(copy, "settings.yaml", "same")
        copy.upload()
    assert stored(store_url) == {"settings.yaml": b"same"}


def test_what_a_killed_command_finished_is_uploaded_by_the_next_one(
    machine: Machine, store_url: str, messages: list[str]
) -> None:
    write(machine("a"), "calibration.json", "found")  # killed before its upload
    after = machine("a")
    assert read(after, "calibration.json") == "found"
    after.upload()
    assert stored(store_url) == {"calibration.json": b"found"} and not messages


def test_the_store_wins_over_changes_of_a_killed_command(machine: Machine, store_url: str, messages: list[str]) -> None:
    copy = machine("a")
    write(copy, "calibration.json", "old")
    copy.upload()
    write(machine("a"), "calibration.json", "of a killed command")
    other = machine("b")
    write(other, "calibration.json", "newer")
    other.upload()
    assert read(machine("a"), "calibration.json") == "newer"
    assert len(messages) == 1 and "calibration.json has changed and replaces" in messages[0]


def test_outputs_are_replaced_as_a_whole_and_not_fetched(machine: Machine, store_url: str) -> None:
    copy = machine("a")
    for name in ("shards/index.json", "shards/a-1.tar", "settings.yaml"):
        write(copy, name, name)
    copy.upload()
    other = machine("b")
    assert not (other.folder / "shards").exists()
    other.upload()
    assert len(stored(store_url)) == 3, "what was not fetched was not deleted"
    write(other, "shards/index.json", "new")
    write(other, "shards/b-1.tar", "b")
    other.upload()
    assert set(stored(store_url)) == {"shards/index.json", "shards/b-1.tar", "settings.yaml"}
    assert not (machine("a").folder / "shards/a-1.tar").exists(), "the outdated copy is gone"


def test_caches_temporary_files_and_candidates_are_not_copied(machine: Machine, store_url: str) -> None:
    copy = machine("a")
    for name in (
        "latents/x",
        "finetune/y",
        ".lock",
        "review/.index.html.tmp",
        "candidates/u.tar",
        "tune/candidates/u.tar",
    ):
        write(copy, name, "local")
    copy.upload()
    assert stored(store_url) == {}


def test_candidates_of_a_working_copy_belong_in_the_store(machine: Machine, store_url: str, tmp_path: Path) -> None:
    copy = machine("a")
    candidates: Store = open_store(copy.folder / "candidates")
    assert candidates.describe("u.tar") == f"{store_url}/candidates/u.tar"
    assert not open_store(tmp_path / "candidates").is_remote


def test_a_shared_file_has_one_content(machine: Machine, tmp_path: Path) -> None:
    first, second = (open_store(machine(name).folder / "candidates") for name in ("a", "a"))
    write_to = first.folder / "plan.jsonl"
    write_to.parent.mkdir(parents=True)
    write_to.write_text("one")
    assert share(first, "plan.jsonl") and share(second, "plan.jsonl")
    write_to.write_text("two")
    assert not share(first, "plan.jsonl")
