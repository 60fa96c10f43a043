"""MLflow runs: one per run folder, with a child run for each stage. Only the driver process writes.

A run folder records its run ids in ``mlflow.json``, so that separate commands log to the same run.
"""

import contextlib
import getpass
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.config.build import format_value
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.outbox import MlflowRun, Outbox
from driveforge.pipelines.tracking.store import Store, find_store, open_store, wrap_mlflow_errors

# Rows of the table that MLflow shows in the browser; the parquet artifact holds all.
MAX_TABLE_ROWS = 2000
# Commands that log to the run of the folder itself; all others log to a child run.
PIPELINE_COMMANDS = ("run", "demo", "nightly")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracker:
    """Writes to one MLflow run; its calls are queued while MLflow does not respond."""

    config: Config
    store: Store
    client: Any
    outbox: Outbox
    experiment_id: str
    run: MlflowRun

    @property
    def run_id(self) -> str:
        """The run id of MLflow; raises UserError if MLflow has not created the run yet."""
        if self.run.id is None:
            raise UserError(f"MLflow at {self.store.uri} does not respond; run this again when it does")
        return self.run.id

    @contextlib.contextmanager
    def child(self, name: str) -> Iterator["Tracker"]:
        """The child run of a stage: the interrupted one if it has the same settings, else a new one.

        Leaving the block sets its status: finished, killed (by an interruption) or failed (by an exception).
        """
        run_ids = read_run_ids(self.config.run)
        run = _find_unfinished(self.client, run_ids["stages"].get(name), dict(_flat_params(self.config)))
        if run is None:
            run = self._begin(name, {"mlflow.parentRunId": self.run.id} if self.run.id else {})
            run_ids["stages"][name] = run.id
            _write_run_ids(self.config.run, run_ids)
        tracker = replace(self, run=run)
        with tracker.running():
            tracker.log_params(self.config)
            yield tracker

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Sets the status of the run: running inside the block, then finished, killed or failed."""
        self.outbox.send(self.run, "status", status="RUNNING", time=_now())
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):  # Lightning converts one to the other
            status = "KILLED"
            raise
        finally:
            self.outbox.send(self.run, "status", status=status, time=_now())

    def _begin(self, name: str, tags: Mapping[str, str]) -> MlflowRun:
        run = MlflowRun()
        run_tags = {
            "mlflow.user": getpass.getuser(),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": f"driveforge {name}",
            "driveforge.run_dir": str(self.config.run_dir.resolve()),
        }
        self.outbox.send(
            run, "create", experiment=self.experiment_id, name=name, time=_now(), tags=run_tags | dict(tags)
        )
        return run

    def log_params(self, settings: Any) -> None:
        """Log settings, a mapping or a record, under dotted keys; a logged key keeps its first value."""
        self.outbox.send(self.run, "params", params=list(_flat_params(settings)))

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log the metrics of one step."""
        metrics = [(key, float(value)) for key, value in values.items()]
        self.outbox.send(self.run, "metrics", metrics=metrics, time=_now(), step=step)

    def set_tags(self, values: Mapping[str, str]) -> None:
        self.outbox.send(self.run, "tags", tags=dict(values))

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Log that this run read the data set ``name``; ``context`` is, for example, "training"."""
        uri = json.dumps({"uri": source})
        self.outbox.send(self.run, "dataset", name=name, digest=digest[:36], source=uri, context=context)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file, or a folder with its contents, into the run's artifacts."""
        resolved, run_dir = path.resolve(), self.config.run_dir.resolve()
        # Queued calls go on in a run folder that was moved.
        named = resolved.relative_to(run_dir) if resolved.is_relative_to(run_dir) else resolved
        self.outbox.send(self.run, "artifact", path=str(named), folder=folder or None)

    def log_table(self, parquet: Path, folder: str) -> None:
        """Log a table as parquet, and its first rows for the browser."""
        import pyarrow.parquet

        self.log_artifact(parquet, folder)
        self._log_rows(pyarrow.parquet.read_table(parquet).slice(0, MAX_TABLE_ROWS).to_pydict(), folder)

    def log_decisions(self, path: Path, decisions: Sequence[Any]) -> None:
        """Log reviewers' decisions as their file, and the last ones as a table for the browser, the latest first."""
        self.log_artifact(path, "decisions")
        last = [asdict(decision) for decision in decisions[-MAX_TABLE_ROWS:][::-1]]
        self._log_rows({key: [one[key] for one in last] for key in (last[0] if last else ())}, "decisions")

    def _log_rows(self, table: Mapping[str, list[Any]], folder: str) -> None:
        if any(table.values()):
            rows = {name: [_cell(value) for value in column] for name, column in table.items()}
            self.outbox.send(self.run, "table", rows=rows, file=f"{folder}/table.json")


@contextlib.contextmanager
def pipeline_run(config: Config, name: str) -> Iterator[Tracker]:
    """The run of the run folder (for ``PIPELINE_COMMANDS``), or its child run ``name``; resumed or created.

    Raises UserError if the store does not respond or cannot be opened at the start. Later, calls are queued.
    """
    config.run_dir.mkdir(parents=True, exist_ok=True)
    store = find_store(config.run, config.tracking)
    client = open_store(store)
    with wrap_mlflow_errors(store.uri):
        outbox = Outbox(client, store.uri, config.run.mlflow_outbox)
        experiment = _experiment(client, store, config.tracking.experiment)
        parent = _open_parent(
            Tracker(config=config, store=store, client=client, outbox=outbox, experiment_id=experiment, run=MlflowRun())
        )
        try:
            with parent.running():
                if name in PIPELINE_COMMANDS:
                    yield parent
                else:
                    with parent.child(name) as stage:
                        yield stage
        finally:
            outbox.close()


def _open_parent(tracker: Tracker) -> Tracker:
    """The tracker of the folder's run, which is created unless the store has it."""
    run_ids = read_run_ids(tracker.config.run)
    found = _find_active(tracker.client, run_ids["run"])
    if found is not None:
        return replace(tracker, run=MlflowRun(id=found.info.run_id))
    created = replace(tracker, run=tracker._begin(tracker.config.run_dir.resolve().name, {}))
    created.log_params(tracker.config)
    _write_run_ids(tracker.config.run, {"run": created.run.id, "stages": {}})
    return created


def _experiment(client: Any, store: Store, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if store.configured else store.artifacts.as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _find_unfinished(client: Any, run_id: str | None, params: Mapping[str, str]) -> MlflowRun | None:
    """The run ``run_id`` if it was interrupted and its logged parameters equal ``params``."""
    found = _find_active(client, run_id)
    if found is None or found.info.status == "FINISHED":
        return None
    changed = any(params.get(key, value) != value for key, value in found.data.params.items())
    return None if changed else MlflowRun(id=found.info.run_id)


def _find_active(client: Any, run_id: str | None) -> Any:
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        found = client.get_run(run_id)
    except (MlflowException, OSError):
        return None
    return found if found.info.lifecycle_stage == "active" else None


def read_run_ids(run: RunDir) -> dict[str, Any]:
    """The run ids of the run folder; none if the file is missing or cannot be read."""
    try:
        record = json.loads(run.mlflow_runs.read_text(encoding="utf-8"))
        run_id, stages = record["run"], dict(record["stages"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"run": None, "stages": {}}
    return {
        "run": run_id if isinstance(run_id, str) else None,
        "stages": {name: stage for name, stage in stages.items() if isinstance(stage, str)},
    }


def _write_run_ids(run: RunDir, record: Mapping[str, Any]) -> None:
    write_atomic(run.mlflow_runs, json.dumps(record, indent=2).encode() + b"\n")


def _now() -> int:
    """Milliseconds since the epoch, the unit of MLflow."""
    return int(time.time() * 1000)


def _flat_params(settings: Any) -> Iterator[tuple[str, str]]:
    return ((key, format_value(value)) for key, value in _flatten(settings))


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
    """A value for the table in the browser: nested values become text."""
    return value if value is None or isinstance(value, str | int | float | bool) else format_value(value)
