import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pyarrow
import pyarrow.parquet
import pytest

from pipelines.settings.compose import compose
from pipelines.settings.config import Config
from pipelines.tracking import TABLE_ROWS, artifact_root, pipeline_run, store_uri


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """One store for the module, in a folder with a space: making the tables takes seconds."""
    return replace(compose(), run_dir=tmp_path_factory.mktemp("my runs") / "first")


def _client(config: Config) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=store_uri(config))


def test_a_pipeline_run_holds_its_settings_and_its_children(config: Config) -> None:
    with pipeline_run(config, "run") as tracker, tracker.child("finetune") as child:
        child.metrics({"loss": 0.5, "share/orbit": 0.25}, step=3)
        child.tags({"model": "abc"})
        child.dataset("driving", "a" * 64, "/data/nuscenes", "training")
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
def test_a_run_that_is_cut_short_says_so(config: Config, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), pipeline_run(config, "run") as tracker:
        raise error
    assert _client(config).get_run(tracker.run_id).info.status == status


def test_rejections_are_logged_as_parquet_table_gallery_and_clips(config: Config, tmp_path: Path) -> None:
    rows = TABLE_ROWS + 5
    verdicts = tmp_path / "verdicts.parquet"
    table = {"clip_id": [f"clip-{i}" for i in range(rows)], "reasons": [["still"]] * rows, "worst": [1.5] * rows}
    pyarrow.parquet.write_table(pyarrow.table(table), verdicts)
    gallery, clip = tmp_path / "gallery.html", tmp_path / "clip-0.mp4"
    gallery.write_text("<html></html>")
    clip.write_bytes(b"video")
    with pipeline_run(config, "gate") as tracker:
        tracker.rejections(verdicts, gallery, [clip])
    names = {a.path for a in _client(config).list_artifacts(tracker.run_id, "rejections")}
    assert names == {f"rejections/{n}" for n in ("verdicts.parquet", "gallery.html", "table.json", "clips")}
    (logged,) = artifact_root(config).rglob("table.json")
    shown = json.loads(logged.read_text())
    assert shown["columns"] == ["clip_id", "reasons", "worst"]
    assert len(shown["data"]) == TABLE_ROWS
    assert shown["data"][0] == ["clip-0", "[still]", 1.5]


def test_nothing_rejected_makes_no_table(config: Config, tmp_path: Path) -> None:
    verdicts, gallery = tmp_path / "verdicts.parquet", tmp_path / "gallery.html"
    pyarrow.parquet.write_table(pyarrow.table({"clip_id": pyarrow.array([], pyarrow.string())}), verdicts)
    gallery.write_text("<html></html>")
    with pipeline_run(config, "gate") as tracker:
        tracker.rejections(verdicts, gallery)
    assert "rejections/table.json" not in {a.path for a in _client(config).list_artifacts(tracker.run_id, "rejections")}


def test_a_configured_store_is_used(config: Config, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    assert store_uri(replace(config, tracking=replace(config.tracking, uri=uri))) == uri
    assert store_uri(config) == f"sqlite:///{config.run_dir.parent / 'mlflow.db'}"
