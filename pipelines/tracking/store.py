"""Where MLflow keeps runs, and the way to it: sqlite beside the run folders, or a server.

The store is sqlite by default: MLflow refuses plain file stores. It notes artifacts by absolute paths, which are put
right when the folder of the runs has moved.
"""

import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shown
from driveforge.datasets.files.lock import held
from driveforge.pipelines.config.config import Config

_ARTIFACTS = "mlartifacts"
# Columns of MLflow's tables that hold the absolute place of an artifact.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_ANSWER_SECONDS = 10.0


def configured_uri(config: Config) -> str | None:
    """The address that was given, by setting or by MLflow's own environment variable; None: the default store."""
    return config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or None


def store_uri(config: Config) -> str:
    """The address of the MLflow store: as configured, or a sqlite file beside the run folders."""
    path = str(store_file(config))
    # What a folder's name holds may mean something in an address. With the driver named, MLflow makes no folder of it.
    quoted = path.replace("%", "%25").replace("?", "%3F")
    return configured_uri(config) or f"sqlite{'' if quoted == path else '+pysqlite'}:///{quoted}"


def store_file(config: Config) -> Path:
    return config.run_dir.resolve().parent / "mlflow.db"


def has_store(config: Config) -> bool:
    """Whether there is a store: one that is configured, or the default one once something was logged."""
    return configured_uri(config) is not None or store_file(config).exists()


def artifact_root(config: Config) -> Path:
    """Where the default store keeps artifacts; a configured server has its own place."""
    return config.run_dir.resolve().parent / _ARTIFACTS


def open_store(config: Config) -> Any:
    """An MLflow client of the store, which is made if it is the default one. UserError: it does not answer or open."""
    import mlflow

    uri = store_uri(config)
    require_answer(uri)
    try:
        # Processes that open a new store at once would race its migration.
        with told_in_a_line(uri), held(store_file(config).with_name(".mlflow.lock")):
            if not configured_uri(config) and store_file(config).exists():
                follow_move(store_file(config))
            client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # which makes it, or shows that it cannot be used
            return client
    except OSError as error:
        raise UserError(f"MLflow at {shown(uri, 100)}: {shown(error, 160)}") from error


def require_answer(uri: str) -> None:
    """A UserError where nobody answers at ``uri``, within seconds: MLflow's own client asks for minutes."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_ANSWER_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # which is an answer
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise UserError(
            f"the MLflow server {shown(uri, 100)} does not answer ({shown(why, 80)}): start it, or leave tracking.uri "
            "and MLFLOW_TRACKING_URI out"
        ) from None


@contextmanager
def told_in_a_line(uri: str) -> Iterator[None]:
    """What MLflow raises in the block becomes a UserError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, sqlite3.Error) as error:
        raise UserError(f"MLflow at {shown(uri, 100)}: {shown(error, 160)}") from error


def follow_move(store: Path) -> None:
    """Put right the places of artifacts that were noted under another folder than that of the file ``store``."""
    here = store.with_name(_ARTIFACTS).as_uri()
    with closing(sqlite3.connect(store, timeout=30)) as database, database:
        columns = [(table, column) for table, column in _PLACES if _has(database, table, column)]
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


def _has(database: sqlite3.Connection, table: str, column: str) -> bool:
    return column in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
