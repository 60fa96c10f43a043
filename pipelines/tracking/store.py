"""The MLflow store: sqlite in the parent of the run folder, or a server.

The default is sqlite, since MLflow refuses plain file stores. MLflow stores absolute artifact paths; they are corrected
after the folder of the runs has moved.
"""

import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.lock import file_lock
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.settings import TrackingSettings

_ARTIFACTS = "mlartifacts"
# Columns of MLflow's tables that hold absolute artifact URIs.
_PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_RESPONSE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """An MLflow store: the ``configured`` server or database, or by default the sqlite file ``database``.

    The default store keeps artifacts in the folder ``artifacts``; a configured one keeps them elsewhere.
    """

    configured: str | None
    database: Path
    artifacts: Path

    @property
    def uri(self) -> str:
        # Folder names may hold characters that are special in a URI. MLflow creates a folder of the quoted name unless
        # the URI names the driver.
        path = str(self.database)
        quoted = path.replace("%", "%25").replace("?", "%3F")
        return self.configured or f"sqlite{'' if quoted == path else '+pysqlite'}:///{quoted}"

    @property
    def exists(self) -> bool:
        """True for a configured store, and for the default one after the first run."""
        return self.configured is not None or self.database.exists()


def find_store(run: RunDir, settings: TrackingSettings) -> Store:
    """The store of a run: ``tracking.uri``, else ``MLFLOW_TRACKING_URI``, else sqlite in the parent folder."""
    configured = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    return Store(configured=configured, database=run.mlflow_store, artifacts=run.mlflow_artifacts)


def open_store(store: Store) -> Any:
    """An MLflow client; creates the default store if needed. Raises UserError if the store cannot be opened."""
    import mlflow

    uri = store.uri
    require_reachable(uri)
    try:
        # Processes that open a new store at the same time would race in its migration.
        with wrap_mlflow_errors(uri), file_lock(store.database.with_name(".mlflow.lock")):
            if store.configured is None and store.database.exists():
                relocate_artifacts(store.database)
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # creates the store, or fails
            return client
    except OSError as error:
        raise UserError(f"MLflow at {shorten(uri, 100)}: {shorten(error, 160)}") from error


def require_reachable(uri: str) -> None:
    """Raise UserError if no server responds at ``uri`` within seconds; MLflow's client retries for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_RESPONSE_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # the server responded
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server {shorten(uri, 100)} does not respond ({shorten(why, 80)}): start it, or unset "
            "tracking.uri and MLFLOW_TRACKING_URI"
        ) from None


@contextmanager
def wrap_mlflow_errors(uri: str) -> Iterator[None]:
    """Errors of MLflow inside the block become a UserError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, sqlite3.Error) as error:
        raise UserError(f"MLflow at {shorten(uri, 100)}: {shorten(error, 160)}") from error


def relocate_artifacts(database_file: Path) -> None:
    """Rewrite artifact URIs that point to a former folder of ``database_file``."""
    here = database_file.with_name(_ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database_file, timeout=30)) as database, database:
        columns = [(table, column) for table, column in _PATH_COLUMNS if _has_column(database, table, column)]
        if ("experiments", "artifact_location") not in columns:
            return
        found = database.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?",
            (f"file://%/{_ARTIFACTS}",),
        )
        for (before,) in [row for row in found if row[0] != here]:
            for table, column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )


def _has_column(database: sqlite3.Connection, table: str, column: str) -> bool:
    return column in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
