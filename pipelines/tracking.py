"""Runs in MLflow: one a pipeline, with a child for each stage. Only the driver writes; workers hand back records.

The store is sqlite by default. Many processes that open a new one at once would race its migration, and MLflow refuses
plain file stores.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pipelines.settings.build import text_of
from pipelines.settings.config import Config

# Rows of the table that MLflow shows in the browser; the parquet beside it holds them all.
TABLE_ROWS = 2000
# Single clips that are logged for MLflow's own player; the gallery holds more.
LOGGED_CLIPS = 24


def store_uri(config: Config) -> str:
    """The address of the MLflow store: as configured, or a sqlite file beside the run folders."""
    return config.tracking.uri or f"sqlite:///{config.run_dir.resolve().parent / 'mlflow.db'}"


def artifact_root(config: Config) -> Path:
    """Where the default store keeps artifacts; a configured server has its own place."""
    return config.run_dir.resolve().parent / "mlartifacts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracker:
    """Writes to one MLflow run."""

    client: Any
    experiment_id: str
    run_id: str

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator["Tracker"]:
        """A nested run, ended when the block is left: as finished, or as failed by an exception."""
        with _run(self.client, self.experiment_id, name, {"mlflow.parentRunId": self.run_id}) as tracker:
            yield tracker

    def params(self, settings: Any) -> None:
        """Log settings, a mapping or a record, under dotted keys; a key keeps its value once it is logged."""
        from mlflow.entities import Param

        params = [Param(key, text_of(value)) for key, value in _flatten(settings)]
        for start in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[start : start + 100])

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers of one step together."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(key, float(v), now, step) for key, v in values.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.client.set_tag(self.run_id, key, value)

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log that this run read the data set ``name``, known by ``digest``; ``context`` is for example training."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(name, digest[:36], source_type="local", source=json.dumps({"uri": source}))
        self.client.log_inputs(self.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file, or all of a folder, into the run's artifacts."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        log(self.run_id, str(path), folder or None)

    def rejections(self, verdicts: Path, gallery: Path, clips: Sequence[Path] = ()) -> None:
        """Log what was rejected: the whole parquet, one table to browse, the gallery and the first annotated clips."""
        import pyarrow.parquet

        self.artifact(verdicts, "rejections")
        self.artifact(gallery, "rejections")
        table = pyarrow.parquet.read_table(verdicts).slice(0, TABLE_ROWS).to_pydict()
        if any(table.values()):
            rows = {name: [_cell(value) for value in column] for name, column in table.items()}
            self.client.log_table(self.run_id, rows, "rejections/table.json")
        for clip in clips[:LOGGED_CLIPS]:
            self.artifact(clip, "rejections/clips")


@contextlib.contextmanager
def pipeline_run(config: Config, name: str) -> Iterator[Tracker]:
    """One run of a pipeline, with its settings as parameters, in the default store or the configured one."""
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    config.run_dir.mkdir(parents=True, exist_ok=True)
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=store_uri(config))
    with _run(
        client, _experiment(client, config), name, {"driveforge.run_dir": str(config.run_dir.resolve())}
    ) as tracker:
        tracker.params(config)
        yield tracker


def _experiment(client: Any, config: Config) -> str:
    found = client.get_experiment_by_name(config.tracking.experiment)
    if found is not None:
        return str(found.experiment_id)
    location = None if config.tracking.uri else artifact_root(config).as_uri()
    return str(client.create_experiment(config.tracking.experiment, artifact_location=location))


@contextlib.contextmanager
def _run(client: Any, experiment_id: str, name: str, tags: Mapping[str, str]) -> Iterator[Tracker]:
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    status = "FAILED"
    try:
        yield Tracker(client=client, experiment_id=experiment_id, run_id=run.info.run_id)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run.info.run_id, status)


def _flatten(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested records and mappings, under dotted keys."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if not isinstance(value, Mapping):
        yield where, value
        return
    for key, inner in value.items():
        yield from _flatten(inner, f"{where}.{key}" if where else str(key))


def _cell(value: Any) -> Any:
    """A table cell that the browser can show: nested values become text."""
    return value if value is None or isinstance(value, str | int | float | bool) else text_of(value)
