"""What finished nights keep on disk and in MLflow. Only names of a run folder, below a night's folder, are removed."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.nightly.night import Night, list_nights
from driveforge.pipelines.nightly.settings import NightlySettings
from driveforge.pipelines.registry.versions import Registry, open_registry
from driveforge.pipelines.run_dir import RunDir


def remove_expired(config: Config, nights: Path) -> None:
    """Apply the retention settings to the finished nights of the folder ``nights``.

    Every finished night loses what only its stages read: checkpoints and its replay buffer, and its latents unless the
    last night read them too. All but the newest ``keep_nights`` also lose their models and candidate clips. Reports,
    tables, pictures and exports stay.
    """
    finished = [night for night in list_nights(nights) if night.is_finished]
    unused = {key for night in finished for key in night.latents} - set(finished[-1].latents)
    latents = RunDir(nights).latents
    for path in (*_expired(nights, finished, config.nightly), *(latents / key for key in unused)):
        shutil.rmtree(path, ignore_errors=True)
    registry = open_registry(config.run, config.tracking, config.promote.registered_as)
    remove_refused(registry, config.nightly.keep_refused)


def _expired(nights: Path, finished: list[Night], settings: NightlySettings) -> Iterator[Path]:
    num_old = 0 if settings.keep_nights is None else max(0, len(finished) - settings.keep_nights)
    for number, night in enumerate(finished):
        run = RunDir(nights / night.name)
        if run.mlflow_outbox.exists():  # MLflow has not received the files yet
            continue
        yield from (run.checkpoints, run.replay)
        if number < num_old or night.outcome == "superseded":
            yield from (run.model, run.refused_model, run.candidates, run.review / "clips")


def remove_refused(registry: Registry, keep: int | None) -> None:
    """Remove all but the newest ``keep`` refused models from the registry, with their files.

    Versions that have an alias, or that were ever champion, stay: a rollback needs them. The evaluations and decisions
    of removed versions remain in their MLflow runs.
    """
    if keep is None:
        return
    refused = registry.never_promoted()
    for version in refused[: max(0, len(refused) - keep)]:
        _remove_files(registry.client, version.source)
        registry.client.delete_model_version(registry.name, version.number)


def _remove_files(client: Any, source: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with suppress(MlflowException, OSError):  # a server may forbid it
        get_artifact_repository(source, tracking_uri=client.tracking_uri).delete_artifacts()
