"""The outbox of MLflow calls: sent in order; while the server does not respond, they are queued and work continues.

Queued calls are also written to a file in the run folder, and the next command in that folder sends them.
"""

import errno
import json
import os
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.console import print_message
from driveforge.pipelines.tracking.store import require_reachable

RETRY_SECONDS = 30.0
# Error codes of MLflow for calls that would fail again.
_PERMANENT_ERRORS = (
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "BAD_REQUEST",
    "INVALID_STATE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
)


@dataclass(kw_only=True, slots=True)
class MlflowRun:
    """Handle of a run: ``id`` is the run id of MLflow, None until MLflow has created the run."""

    id: str | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call: ``kind`` names a function of ``HANDLERS``, ``values`` are its arguments as JSON values."""

    run: MlflowRun
    kind: str
    values: dict[str, Any]


class Outbox:
    """Sends calls to the store of ``client``, or queues them in ``pending_file`` while it does not respond."""

    def __init__(self, client: Any, uri: str, pending_file: Path) -> None:
        self._client, self._uri, self._file = client, uri, pending_file
        self._calls: deque[Call] = deque(_read_calls(pending_file))
        self._retry_at: float | None = None
        self.flush()

    def send(self, run: MlflowRun, kind: str, **values: Any) -> None:
        """Send one call, after all earlier ones."""
        call = Call(run=run, kind=kind, values=values)
        self._calls.append(call)
        if self._retry_at is not None:
            self._append(call)
        if self._retry_at is None or time.monotonic() >= self._retry_at:
            self.flush()

    def flush(self) -> None:
        """Send the queued calls, until one fails."""
        from mlflow.exceptions import MlflowException

        had_pending = self._retry_at is not None or self._file.exists()
        try:
            if self._retry_at is not None:
                require_reachable(self._uri)
            while self._calls:
                self._deliver(self._calls[0])
                self._calls.popleft()
        except (MlflowException, UserError, OSError) as error:
            self._postpone(error)
            return
        if had_pending:
            self._file.unlink(missing_ok=True)
            if self._retry_at is not None:
                print_message(f"MLflow at {shorten(self._uri, 100)} responds again; all queued calls were sent")
        self._retry_at = None

    def close(self) -> None:
        """Send the queued calls; prints where they are kept if that fails."""
        if self._calls:
            self.flush()
        if self._calls:
            queued = f"{len(self._calls)} MLflow calls are queued in {self._file}"
            print_message(f"{queued}; the next command in this run folder sends them")

    def _deliver(self, call: Call) -> None:
        from mlflow.exceptions import MlflowException

        if call.run.id is None and call.kind != "create":
            return  # MLflow refused to create the run, which was reported
        try:
            HANDLERS[call.kind](self._client, call.run, self._locate(call.values))
        except MlflowException as error:
            if error.error_code not in _PERMANENT_ERRORS:
                raise
            print_message(f"MLflow refused {call.kind}: {shorten(error, 160)}")
        except FileNotFoundError as error:
            print_message(f"{shorten(error.filename or error, 160)} no longer exists and was not sent to MLflow")

    def _locate(self, values: dict[str, Any]) -> dict[str, Any]:
        """``values`` with the path of a file, which is relative to the folder of the queue, if it has one."""
        path = values.get("path")
        return values | {"path": str(self._file.parent / path)} if isinstance(path, str) else values

    def _postpone(self, error: Exception) -> None:
        if self._retry_at is None:
            problem = f"MLflow at {shorten(self._uri, 100)} does not accept calls ({shorten(error, 100)})"
            print_message(f"{problem}; work continues, calls are queued")
            self._file.unlink(missing_ok=True)
            for call in self._calls:
                self._append(call)
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _append(self, call: Call) -> None:
        record = {"run": call.run.key, "id": call.run.id, "kind": call.kind, "values": call.values}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _read_calls(path: Path) -> list[Call]:
    """The calls that an earlier command could not send, without lines that cannot be read."""
    if not path.exists():
        return []
    runs: dict[str, MlflowRun] = {}
    calls = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            run = runs.setdefault(record["run"], MlflowRun(id=record["id"], key=record["run"]))
            calls.append(Call(run=run, kind=record["kind"], values=dict(record["values"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            print_message(f"{path}: one queued MLflow call cannot be read and is skipped")
    return [call for call in calls if call.kind in HANDLERS]


def _create(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    created = client.create_run(
        values["experiment"], start_time=values["time"], run_name=values["name"], tags=values["tags"]
    )
    run.id = created.info.run_id


def _params(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    from mlflow.entities import Param

    # MLflow refuses to change a parameter.
    known = client.get_run(run.id).data.params
    params = [Param(key, value) for key, value in values["params"] if key not in known]
    for start in range(0, len(params), 100):
        client.log_batch(run.id, params=params[start : start + 100])


def _metrics(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    client.log_batch(
        run.id, metrics=[Metric(key, value, values["time"], values["step"]) for key, value in values["metrics"]]
    )


def _tags(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    for key, value in values["tags"].items():
        client.set_tag(run.id, key, value)


def _dataset(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(values["name"], values["digest"], source_type="local", source=values["source"])
    client.log_inputs(run.id, [DatasetInput(entity, [InputTag("mlflow.data.context", values["context"])])])


def _artifact(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    path = Path(values["path"])
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    log = client.log_artifacts if path.is_dir() else client.log_artifact
    log(run.id, str(path), values["folder"])


def _table(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    client.log_table(run.id, values["rows"], values["file"])


def _status(client: Any, run: MlflowRun, values: dict[str, Any]) -> None:
    if values["status"] == "RUNNING":
        client.update_run(run.id, status="RUNNING")
    else:
        client.set_terminated(run.id, values["status"], values["time"])


HANDLERS: dict[str, Callable[[Any, MlflowRun, dict[str, Any]], None]] = {
    "create": _create,
    "params": _params,
    "metrics": _metrics,
    "tags": _tags,
    "dataset": _dataset,
    "artifact": _artifact,
    "table": _table,
    "status": _status,
}
