"""The command's exit statuses, summary and lock, in passes that end before any training."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from driveforge.datasets.files.lock import file_lock
from driveforge.finetune.training.time_limit import TimeIsUp
from driveforge.pipelines.cli import main
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.nightly.new_data import find_training_clips
from driveforge.pipelines.nightly.night import Night, find_unfinished, list_nights, now, write_clips, write_night
from driveforge.pipelines.nightly.status import Status
from driveforge.pipelines.nightly.time_budget import TimeBudget
from driveforge.pipelines.processes.signals import interruptible
from tests.pipelines.nightly.test_new_data import FRAMING, write_clip
from tests.pipelines.nightly.test_webhook import Handler, Receiver


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings of a data set with one training clip and one that is held out."""
    write_clip(tmp_path / "drives", "train", seed=0)
    write_clip(tmp_path / "drives", "held-out", seed=1, split="val")
    return ["data=video", f"data.root={tmp_path / 'drives'}", f"run_dir={tmp_path / 'nights'}", *FRAMING]


def summary_of(words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The summary of a pass with --json, whose status must be the exit status, and what went to stderr."""
    capfd.readouterr()
    status = main(["nightly", *words, "--json"])
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary["status"] == status
    return summary, captured.err


def finish_a_night(words: list[str], nights: Path) -> None:
    """Record a refused night that was trained on the present clips."""
    clips = find_training_clips(compose(words).data, nights)
    values: dict[str, Any] = {"num_clips": 1, "num_new": 1, "start": "", "champion": "", "base": ""}
    write_night(nights, Night(name="first", began=now(), data=clips.digest, outcome="refused", **values))
    write_clips(nights / "first", clips.digests)


def test_every_status_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    statuses = {str(int(status)) for status in Status}
    page = (Path(__file__).parents[3] / "docs" / "nightly.md").read_text()
    table = page.split("## Exit status")[1].split("`--json`")[0]
    assert set(re.findall(r"^\| (\d) \|", table, re.MULTILINE)) == statuses
    with pytest.raises(SystemExit):
        main(["nightly", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert set(re.findall(r"(?:status|;) (\d): ", shown)) == statuses


def test_without_new_data_the_status_is_4(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    finish_a_night(words, tmp_path / "nights")
    summary, said = summary_of(words, capfd)
    assert (summary["status"], summary["outcome"], summary["night"]) == (4, "no-new-data", "first")
    assert said.count("no new data: all 1 clips were in earlier nights, the last one first (refused)") == 1


def test_a_second_pass_ends_at_once(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with file_lock(tmp_path / "nights" / ".nightly.lock"):
        summary, said = summary_of(words, capfd)
    assert (summary["status"], summary["outcome"]) == (5, "already-running")
    assert "holds" in said and said.count("\n") == 1


def test_the_lock_of_a_killed_pass_is_taken_over(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever process has its id now."""
    finish_a_night(words, tmp_path / "nights")
    holder = {"command": "driveforge nightly", "pid": 1, "host": "node-7", "since": "2026-01-31 01:00:00"}
    (tmp_path / "nights" / ".nightly.lock").write_text(json.dumps(holder))
    summary, said = summary_of(words, capfd)
    assert summary["status"] == 4
    assert "the pass of driveforge nightly (process 1 on node-7, since 2026-01-31 01:00:00) was killed" in said
    assert not (tmp_path / "nights" / ".nightly.lock").exists()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("data.root=/no/such/folder", "data.root=/no/such/folder does not exist"),
        ("nightly.webhook=file:///etc/passwd", "must be an address such as"),
        ("model.generator=a:B", "model.generator cannot be fine-tuned"),
        ("nightly.hours=-1", "nightly.hours must be 0 or more"),
        ("validate.calibration=/no/calibration.json", "validate.calibration=/no/calibration.json does not exist"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(
    wrong: str, line: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nightly", *words, wrong]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
    assert not list(tmp_path.glob("nights/*/night.json"))


def test_data_without_held_out_scenes_is_refused(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drives" / "held-out").rename(tmp_path / "held-out")
    summary, said = summary_of(words, capfd)
    assert (summary["status"], summary["outcome"]) == (2, "user-error")
    assert "is data.root too, and no scene is held out" in said
    assert main(["nightly", *words, f"evaluate.footage=[{tmp_path / 'held-out'}]", "nightly.hours=0"]) == 6


def test_a_night_out_of_time_is_continued_unless_its_data_or_settings_have_changed(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nights, words = tmp_path / "nights", [*words, "nightly.hours=0"]
    summary, said = summary_of(words, capfd)
    assert (summary["status"], summary["outcome"], summary["stages"]) == (6, "time-is-up", [])
    night = find_unfinished(nights)
    assert night is not None and (summary["night"], night.num_clips, night.num_new) == (night.name, 1, 1)
    # Another date: the night is that of yesterday.
    (nights / night.name).rename(nights / "2026-01-31")
    write_night(nights, replace(night, name="2026-01-31"))
    summary, _ = summary_of(words, capfd)
    assert summary["night"] == "2026-01-31" and len(list_nights(nights)) == 1
    summary, said = summary_of([*words, "finetune.steps=7"], capfd)
    assert "night 2026-01-31 is given up, since finetune.steps was 200, is now 7" in said
    write_clip(tmp_path / "drives", "more", seed=2)
    summary, said = summary_of([*words, "finetune.steps=7"], capfd)
    assert "is given up, since its data has changed" in said
    assert [night.outcome for night in list_nights(nights)] == ["superseded", "superseded", ""]
    assert find_unfinished(nights) == list_nights(nights)[-1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(("127.0.0.1", 0), Handler) as server:
        server.received = []
        threading.Thread(target=HTTPServer.serve_forever, args=(server,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_webhook_gets_the_summary_and_is_not_saved(
    words: list[str], receiver: Receiver, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"http://127.0.0.1:{receiver.server_port}/secret"
    summary, _ = summary_of([*words, "nightly.hours=0", f"nightly.webhook={address}"], capfd)
    assert [body for _, _, body in receiver.received] == [summary]
    (settings,) = tmp_path.glob("nights/*/settings.yaml")
    assert "secret" not in settings.read_text()
    with file_lock(tmp_path / "nights" / ".nightly.lock"):
        assert main(["nightly", *words, f"nightly.webhook={address}"]) == 5
    assert len(receiver.received) == 1


def test_a_stage_is_interrupted_at_the_deadline() -> None:
    budget = TimeBudget.of_hours(0.2 / 3600)
    with interruptible(), pytest.raises(KeyboardInterrupt), budget.interrupting():
        threading.Event().wait(30)
    assert budget.has_interrupted.is_set()
    with pytest.raises(TimeIsUp):
        budget.require_time()


def test_without_a_budget_nothing_is_interrupted() -> None:
    budget = TimeBudget.of_hours(None)
    with budget.interrupting():
        budget.require_time()
    assert not budget.has_interrupted.is_set()
