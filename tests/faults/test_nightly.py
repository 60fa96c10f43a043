"""Three simulated nights in a row, and the same nights killed in every stage and at random times.

A model names the commit of the code, so the checkout must not change while these tests run.
"""

import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from driveforge.pipelines.cli import main
from driveforge.pipelines.export.verify import verify
from driveforge.pipelines.nightly import store_access
from driveforge.pipelines.nightly.night import find_unfinished, list_nights
from driveforge.pipelines.nightly.stages import STAGES
from driveforge.pipelines.nightly.status import Status
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking import outbox
from tests.faults.killing import killable_command
from tests.faults.nightly_kills import kill_in_stage
from tests.faults.outcomes import KILLS, Record
from tests.pipelines.nightly.small_nights import FORGETTING, add_odd_clips, copy_caches, make_world, outcome_of
from tests.pipelines.tracking.test_outbox import Server

pytestmark = pytest.mark.timeout(3600)

STATUSES = (0, 3, 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Undisturbed:
    """Three nights without kills: ``statuses`` and ``outcome``, the folder as it was, and caches for other nights."""

    root: Path
    words: tuple[list[str], ...]
    statuses: tuple[int, ...]
    outcome: dict[str, Any]
    caches: Path
    whole: Path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    """Night 1 is trained on the first clips, night 2 on more clips that look different, night 3 finds no new ones."""
    root = tmp_path_factory.mktemp("three nights")
    settings, nights = make_world(root), root / "nights"
    nights.mkdir()
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{nights / 'mlflow.db'}").search_experiments()
    shutil.copy(nights / "mlflow.db", root / "empty.db")
    words = (settings, [*settings, *FORGETTING], [*settings, *FORGETTING])
    first = main(["nightly", *words[0]])
    copy_caches(nights, root / "caches")
    add_odd_clips(root)
    second, third = main(["nightly", *words[1]]), main(["nightly", *words[2]])
    outcome = outcome_of(nights)
    copy_caches(nights, root / "caches")
    shutil.move(root / "empty.db", root / "caches" / "mlflow.db")
    shutil.move(nights, root / "whole")
    yield Undisturbed(
        root=root, words=words, statuses=(first, second, third), outcome=outcome,
        caches=root / "caches", whole=root / "whole",
    )  # fmt: skip


def test_three_nights(undisturbed: Undisturbed) -> None:
    """The first improves and is promoted; the second forgets and is refused; the third has no new data."""
    assert undisturbed.statuses == STATUSES
    first, second = (undisturbed.outcome[number]["report"] for number in ("0", "1"))
    assert first["outcome"] == "promoted" and first["decision"]["champion_before"] is None
    assert first["data"]["clips"] == first["data"]["new_clips"] == 6
    improved = first["decision"]["checks"][0]
    assert (improved["domain"], improved["against"], improved["state"]) == ("driving", "base", "improved")
    assert second["outcome"] == "refused" and second["decision"]["champion_before"] == first["model"]["version"]
    assert second["data"] == {**second["data"], "clips": 12, "new_clips": 6}
    regressed = {check["domain"] for check in second["decision"]["checks"] if check["state"] == "regressed"}
    assert "orbit" in regressed and "regressed on" in second["decision"]["summary"]
    assert any(text.startswith("orbit, ") and "worse by" in text for text in second["decision"]["failed"])
    assert second["parent"]["digest"] == first["model"]["digest"], "the second night starts from the champion"
    assert second["clips"]["model"] == f"version {first['model']['version']}", "the champion generates"


def test_every_model_names_its_parent_data_replay_and_code(undisturbed: Undisturbed) -> None:
    nights = list_nights(undisturbed.whole)
    folders = [
        RunDir(undisturbed.whole / nights[0].name).model,
        RunDir(undisturbed.whole / nights[1].name).refused_model,
    ]
    for folder, replayed in zip(folders, ({"orbit": 40}, {}), strict=True):
        lineage = json.loads((folder / "lineage.json").read_text())
        assert lineage["base"] and lineage["driving"] and lineage["code"]["version"]
        counts = dict(lineage["sample_counts"])
        assert counts.pop("driving") > 0 and counts == replayed


def test_clips_are_exported_and_reported(undisturbed: Undisturbed) -> None:
    night = undisturbed.whole / list_nights(undisturbed.whole)[0].name
    report = json.loads((night / "report.json").read_text())
    accepted = report["clips"]["accepted"]
    assert accepted > 0 and verify(night / "shards").num_samples == accepted
    page = (night / "report.md").read_text()
    assert "| orbit |" in page and str(report["export"]) in page


def test_working_files_are_removed(undisturbed: Undisturbed) -> None:
    for night in list_nights(undisturbed.whole):
        run = RunDir(undisturbed.whole / night.name)
        assert not run.checkpoints.exists() and not run.replay.exists()
    used = set(list_nights(undisturbed.whole)[-1].latents)
    stored = {path.parent.name for path in (undisturbed.whole / "latents").glob("*/index.json")}
    assert stored == used


def fresh_nights(undisturbed: Undisturbed) -> Path:
    """An empty folder of nights at the place of the undisturbed one, with its caches."""
    nights = undisturbed.root / "nights"
    shutil.rmtree(nights, ignore_errors=True)
    shutil.copytree(undisturbed.caches, nights)
    return nights


def hide_odd_clips(undisturbed: Undisturbed) -> None:
    for clip in (undisturbed.root / "driving").glob("negative-*"):
        clip.rename(undisturbed.root / f"hidden-{clip.name}")


def show_odd_clips(undisturbed: Undisturbed) -> None:
    for clip in undisturbed.root.glob("hidden-negative-*"):
        clip.rename(undisturbed.root / "driving" / clip.name.removeprefix("hidden-"))


def kill_through(
    undisturbed: Undisturbed, number: int, stages: Sequence[str], rng: random.Random, record: Record
) -> None:
    """Kill night ``number`` after each of ``stages``, then let it end."""
    nights, killed = undisturbed.root / "nights", 0
    with killable_command(
        "nightly", undisturbed.root / f"night {number}", "nightly", *undisturbed.words[number]
    ) as command:
        for stage in stages:
            status = kill_in_stage(command, nights, stage, rng, within=2.0 if stage else 6.0)
            assert status in (-signal.SIGKILL, *STATUSES), command.log.read_text()[-2000:]
            killed += status == -signal.SIGKILL
        status = command.start().wait()
        # A pass that was killed after all of its work is done has no status; the next one finds no new data.
        assert status in (STATUSES[number], Status.NO_NEW_DATA), command.log.read_text()[-2000:]
    record(KILLS, [f"nightly, night {number + 1}", killed, killed, len(stages) - killed, "same outcome"])


def test_a_killed_night_has_the_same_outcome(undisturbed: Undisturbed, record_property: Record) -> None:
    """Killed while it encodes, fine-tunes, promotes, generates and gates."""
    nights = fresh_nights(undisturbed)
    hide_odd_clips(undisturbed)
    stages = ["", "probe-earlier", "probe", "promote", "generate"]
    assert {*stages[1:]} < {stage.name for stage in STAGES}
    try:
        kill_through(undisturbed, 0, stages, random.Random(1), record_property)
    finally:
        show_odd_clips(undisturbed)
    assert outcome_of(nights) == {"0": undisturbed.outcome["0"]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_three_nights_killed_in_every_stage_and_at_random_times(
    undisturbed: Undisturbed, seed: int, record_property: Record
) -> None:
    nights, rng = fresh_nights(undisturbed), random.Random(seed)
    names = ["", *(stage.name for stage in STAGES)]
    hide_odd_clips(undisturbed)
    for number in range(3):
        if number == 1:
            show_odd_clips(undisturbed)
        stages = sorted([*names, *rng.choices(names, k=4)], key=names.index)
        kill_through(undisturbed, number, stages, rng, record_property)
    assert outcome_of(nights) == undisturbed.outcome


def records(uri: str) -> dict[str, Any]:
    """All that MLflow has of a night, by run and number of its attempts, without times and addresses."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    found: dict[str, Any] = {}
    for run in sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time):
        name = run.info.run_name if "mlflow.parentRunId" in run.data.tags else "night"
        record = {
            "status": run.info.status,
            "params": {key: value for key, value in run.data.params.items() if key not in ("tracking.uri", "run_dir")},
            "metrics": {key: value for key, value in run.data.metrics.items() if key != "seconds"},
            "tags": {key: value for key, value in run.data.tags.items() if key.startswith("driveforge.")},
            "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
        found[f"{name} {sum(key.startswith(name) for key in found)}"] = record
    version = client.get_model_version_by_alias("driveforge", "champion")
    return found | {"champion": (version.version, version.description, version.tags["driveforge.digest"])}


class Restarts(threading.Thread):
    """Kills the server in the fine-tune and restarts it while the promotion waits; then again in the generation."""

    def __init__(self, server: Server, nights: Path) -> None:
        super().__init__(daemon=True)
        self.server, self.nights, self.num_done = server, nights, 0

    def run(self) -> None:
        for during, until in (("finetune/step=10.ckpt", "probe"), ("candidates/plan.jsonl", "gate")):
            while not list(self.nights.glob(f"*/{during}")):
                time.sleep(0.01)
            self.server.kill()
            while not ((night := find_unfinished(self.nights)) and night.has(until)):
                time.sleep(0.01)
            self.server.start()
            self.num_done += 1


@pytest.mark.slow
def test_a_server_that_is_killed_and_restarted_has_the_same_records(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(outbox, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(store_access, "RETRY_SECONDS", 0.5)
    hide_odd_clips(undisturbed)
    found = []
    for is_restarted in (False, True):
        nights = fresh_nights(undisturbed)
        (nights / "mlflow.db").unlink()
        (tmp_path / str(is_restarted)).mkdir()
        server = Server(tmp_path / str(is_restarted))
        restarts = Restarts(server, nights)
        try:
            if is_restarted:
                restarts.start()
            assert main(["nightly", *undisturbed.words[0], f"tracking.uri={server.uri}"]) == STATUSES[0]
            assert restarts.num_done == 2 * is_restarted
            found.append(records(server.uri))
        finally:
            server.kill()
        assert outcome_of(nights)["0"]["model"] == undisturbed.outcome["0"]["model"]
        assert not list(nights.glob("*/mlflow-waiting.jsonl"))
        said = capsys.readouterr().err
        assert ("work continues" in said) == is_restarted
    show_odd_clips(undisturbed)
    assert found[0] == found[1] and len(found[0]) > 6
