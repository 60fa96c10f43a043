"""MLflow runs of run folders, on real stores."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mlflow
import pyarrow
import pyarrow.parquet
import pytest

from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.review.decisions import ReviewDecision
from driveforge.pipelines.tracking.runs import MAX_TABLE_ROWS, pipeline_run
from driveforge.pipelines.tracking.store import find_store


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """One store for the module, since creating it takes seconds; its path contains a space."""
    return replace(compose(), run_dir=tmp_path_factory.mktemp("my runs") / "first")


def _runs(config: Config, name: str) -> list[Any]:
    client = _client(config)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    return list(client.search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'"))


def _client(config: Config) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=find_store(config.run, config.tracking).uri)


def test_a_pipeline_run_holds_its_settings_and_child_runs(config: Config) -> None:
    with pipeline_run(config, "run") as tracker, tracker.child("finetune") as child:
        child.log_metrics({"loss": 0.5, "share/orbit": 0.25}, step=3)
        child.set_tags({"model": "abc"})
        child.log_dataset("driving", "a" * 64, "/data/nuscenes", "training")
    parent = _client(config).get_run(tracker.run_id)
    nested = _client(config).get_run(child.run_id)
    assert parent.info.status == nested.info.status == "FINISHED"
    assert parent.data.params["replay.share"] == "0.25"
    assert parent.data.params["data.domains"] == "[driving-day, driving-dusk, driving-rain]"
    assert nested.data.tags["mlflow.parentRunId"] == tracker.run_id
    assert nested.data.tags["model"] == "abc"
    assert nested.data.metrics == {"loss": 0.5, "share/orbit": 0.25}
    assert nested.inputs.dataset_inputs[0].dataset.digest == "a" * 36
    assert json.loads(nested.inputs.dataset_inputs[0].dataset.source) == {"uri": "/data/nuscenes"}


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_interrupted_run_has_the_status(config: Config, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), pipeline_run(config, "run") as tracker:
        raise error
    assert _client(config).get_run(tracker.run_id).info.status == status


def test_separate_stages_share_the_run_of_their_folder(config: Config) -> None:
    config = replace(config, run_dir=config.run_dir.with_name("stages"))
    for name in ("finetune", "gate", "gate"):
        with pipeline_run(config, name) as tracker:
            tracker.log_metrics({"clips": 1})
    (parent,) = _runs(config, "stages")
    assert parent.info.status == "FINISHED"
    assert parent.data.params["replay.share"] == "0.25"
    ours = [run for run in (*_runs(config, "finetune"), *_runs(config, "gate"))]
    ours = [run for run in ours if run.data.tags["mlflow.parentRunId"] == parent.info.run_id]
    assert [run.info.run_name for run in ours] == ["finetune", "gate", "gate"]
    assert ours[0].data.tags["mlflow.source.name"] == "driveforge finetune"


def test_an_interrupted_stage_resumes_its_run_unless_settings_changed(config: Config) -> None:
    config = replace(config, run_dir=config.run_dir.with_name("cut"))
    with pytest.raises(KeyboardInterrupt), pipeline_run(config, "finetune") as first:
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), pipeline_run(config, "finetune") as second:
        raise RuntimeError
    assert second.run_id == first.run_id
    changed = replace(config, finetune=replace(config.finetune, steps=7))
    with pipeline_run(changed, "finetune") as third:
        pass
    assert third.run_id != first.run_id
    assert _client(config).get_run(third.run_id).data.params["finetune.steps"] == "7"


@pytest.mark.parametrize("name", ["My%20Drive", "100% [ü]? #1"])
def test_a_folder_of_any_name_can_hold_the_store(name: str, tmp_path: Path) -> None:
    config = replace(compose(), run_dir=tmp_path / name / "run")
    note = tmp_path / "note.txt"
    note.write_text("seen")
    with pipeline_run(config, "run") as tracker:
        tracker.log_artifact(note)
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["mlartifacts", "mlflow.db", "run"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "note.txt"])
    assert [artifact.path for artifact in _client(config).list_artifacts(tracker.run_id)] == ["note.txt"]


LOG = """
import sys
from pathlib import Path
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.tracking.runs import pipeline_run
with pipeline_run(compose([f"run_dir={sys.argv[1]}"]), "run") as tracker:
    tracker.log_artifact(Path(sys.argv[2]))
"""


def test_artifacts_are_found_after_the_folder_of_the_runs_has_moved(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("seen")
    # In a subprocess, since MLflow caches artifact locations per process.
    subprocess.run([sys.executable, "-c", LOG, str(tmp_path / "runs" / "a"), str(note)], check=True)
    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = replace(compose(), run_dir=tmp_path / "moved" / "a")
    with pipeline_run(moved, "run") as tracker:
        tracker.log_artifact(note, "second")
    assert [artifact.path for artifact in _client(moved).list_artifacts(tracker.run_id)] == ["note.txt", "second"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"run": 3, "stages": {"gate": []}}', '{"run": "gone", "stages": {}}'])
def test_unusable_run_ids_are_replaced(content: str, config: Config) -> None:
    config = replace(config, run_dir=config.run_dir.with_name("noted"))
    config.run_dir.mkdir(exist_ok=True)
    (config.run_dir / "mlflow.json").write_text(content)
    with pipeline_run(config, "gate") as tracker:
        pass
    assert _client(config).get_run(tracker.run_id).info.status == "FINISHED"


def test_a_table_is_logged_as_parquet_and_for_the_browser(config: Config, tmp_path: Path) -> None:
    rows = MAX_TABLE_ROWS + 5
    rejections = tmp_path / "rejections.parquet"
    table = {"clip_id": [f"clip-{i}" for i in range(rows)], "reasons": [["still"]] * rows, "worst": [1.5] * rows}
    pyarrow.parquet.write_table(pyarrow.table(table), rejections)
    with pipeline_run(config, "gate") as tracker:
        tracker.log_table(rejections, "rejections")
    names = {a.path for a in _client(config).list_artifacts(tracker.run_id, "rejections")}
    assert names == {"rejections/rejections.parquet", "rejections/table.json"}
    (logged,) = find_store(config.run, config.tracking).artifacts.rglob("table.json")
    shown = json.loads(logged.read_text())
    assert shown["columns"] == ["clip_id", "reasons", "worst"]
    assert len(shown["data"]) == MAX_TABLE_ROWS
    assert shown["data"][0] == ["clip-0", "[still]", 1.5]


def test_no_table_without_rows(config: Config, tmp_path: Path) -> None:
    rejections = tmp_path / "rejections.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"clip_id": pyarrow.array([], pyarrow.string())}), rejections)
    with pipeline_run(config, "gate") as tracker:
        tracker.log_table(rejections, "rejections")
    assert {a.path for a in _client(config).list_artifacts(tracker.run_id, "rejections")} == {
        "rejections/rejections.parquet"
    }


def test_decisions_are_logged_with_reviewer_and_time(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text("{}\n")
    made = [
        ReviewDecision(clip="clip-1", reviewer="anna", verdict="accept", note="<b>", time="2026-01-31T10:00:00.000Z"),
        ReviewDecision(clip="clip-2", reviewer="ben", verdict="reject", time="2026-01-31T11:00:00.000Z"),
    ]
    with pipeline_run(config, "gate") as tracker:
        tracker.log_decisions(path, made)
    names = {a.path for a in _client(config).list_artifacts(tracker.run_id, "decisions")}
    assert names == {"decisions/decisions.jsonl", "decisions/table.json"}
    logged = next(find_store(config.run, config.tracking).artifacts.rglob("decisions/table.json"))
    shown = json.loads(logged.read_text())
    assert dict(zip(shown["columns"], shown["data"][0], strict=True)) == asdict(made[1]), "the latest is first"


def test_the_store_of_the_environment_variable_is_used(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert find_store(config.run, config.tracking).uri == "http://tracking:5000"
    given = replace(config, tracking=replace(config.tracking, uri="http://other:1"))
    assert find_store(given.run, given.tracking).uri == "http://other:1"


def test_a_configured_store_is_used(config: Config, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    assert find_store(config.run, replace(config.tracking, uri=uri)).uri == uri
    assert find_store(config.run, config.tracking).uri == f"sqlite:///{config.run_dir.parent / 'mlflow.db'}"
