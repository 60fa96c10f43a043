"""What finished nights keep on disk and in MLflow. Only names of a run folder, below a night's folder, are removed."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError, shorten
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message
from driveforge.pipelines.nightly.night import Night
from driveforge.pipelines.nightly.settings import NightlySettings
from driveforge.pipelines.registry.versions import CHAMPION, Registry, open_registry
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.store import find_store


def remove_expired(config: Config, nights: Path, finished: list[Night]) -> None:
    """Apply the retention settings; a failure is printed, and the next pass tries again."""
    from mlflow.exceptions import MlflowException

    try:
        _remove_expired(config, nights, finished)
    except (UserError, MlflowException, OSError) as error:
        print_message(f"expired files and models could not be removed ({shorten(error, 160)})")


def _remove_expired(config: Config, nights: Path, finished: list[Night]) -> None:
    """Apply the retention settings to the ``finished`` nights of the folder ``nights``, oldest first.

    Every finished night loses what only its stages read: checkpoints and its replay buffer; and latents and evaluation
    clips that the last night did not read. All but the newest ``keep_nights`` also lose their models and candidate
    clips. Reports, tables, pictures and exports stay.
    """
    run = RunDir(nights / "night")
    if not finished or not find_store(run, config.tracking).exists:
        return
    registry = open_registry(run, config.tracking, config.promote.registered_as)
    expired = (
        *_expired(nights, finished, config.nightly),
        *_unused_latents(nights, finished),
        *_unused_evaluation_clips(run, finished[-1]),
        *_former_champions(run, registry),
    )
    for path in expired:
        shutil.rmtree(path, ignore_errors=True)
    remove_refused(registry, config.nightly.keep_refused)


def _unused_latents(nights: Path, finished: list[Night]) -> Iterator[Path]:
    unused = {key for night in finished for key in night.latents} - set(finished[-1].latents)
    yield from (RunDir(nights).latents / key for key in sorted(unused))


def _unused_evaluation_clips(run: RunDir, last: Night) -> Iterator[Path]:
    """Caches of evaluation clips that were last opened before the last finished night began."""
    began = datetime.fromisoformat(last.began).timestamp()
    for index in run.evaluation_clips.glob("*/index.json"):
        if index.stat().st_mtime < began:
            yield index.parent


def _former_champions(run: RunDir, registry: Registry) -> Iterator[Path]:
    """Downloads of models that are not champion any more, from a server's registry."""
    champion = registry.alias(CHAMPION)
    for folder in run.champions.glob("[!.]*"):
        if champion is None or folder.name != champion.digest:
            yield folder


def _expired(nights: Path, finished: list[Night], settings: NightlySettings) -> Iterator[Path]:
    num_old = 0 if settings.keep_nights is None else max(0, len(finished) - settings.keep_nights)
    for number, night in enumerate(finished):
        run = RunDir(nights / night.name)
        if run.mlflow_outbox.exists():  # MLflow has not received the files yet
            continue
        yield from (run.checkpoints, run.replay)
        if number < num_old or night.outcome == "superseded":
            yield from (run.model, run.refused_model, run.candidates, run.review / "media")


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
