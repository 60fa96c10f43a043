"""World models in the MLflow registry: numbered versions, and the aliases ``candidate`` and ``champion``.

The files of a version are artifacts of the run that registered it. An alias moves atomically, so a killed promotion
leaves the previous champion. The previous champion is a tag of the current one.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import file_lock
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker
from driveforge.pipelines.tracking.settings import TrackingSettings
from driveforge.pipelines.tracking.store import find_store, open_store

CHAMPION, CANDIDATE = "champion", "candidate"
MODEL_FOLDER = "model"
_DIGEST = "driveforge.digest"
_EVALUATION_RUN = "driveforge.evaluation_run"
_PREVIOUS = "driveforge.champion_before"
_SINCE = "driveforge.champion_since"
_ROLLED_BACK = "driveforge.rolled_back"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One registered model: the ``digest`` of its files, and the version that was champion before it, if any.

    ``source`` is the URI of its folder, ``evaluation_run`` the MLflow run that holds its evaluation.
    """

    number: str
    digest: str
    source: str
    evaluation_run: str
    previous: str = ""
    champion_since: str = ""
    rolled_back: str = ""

    def __str__(self) -> str:
        return f"version {self.number} ({self.digest})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """The versions registered under ``name``. Hold ``promotion_lock`` to change anything."""

    client: Any
    name: str

    def alias(self, alias: str) -> Version | None:
        """The version with that alias, or None."""
        return self._lookup(lambda: self.client.get_model_version_by_alias(self.name, alias))

    def version(self, number: str) -> Version | None:
        return self._lookup(lambda: self.client.get_model_version(self.name, number))

    def with_digest(self, digest: str) -> Version | None:
        """The newest version with exactly these files, or None."""
        found = self.client.search_model_versions(f"name='{self.name}' and tags.`{_DIGEST}`='{digest}'")
        return max(map(_parse_version, found), key=lambda version: int(version.number), default=None)

    def never_promoted(self) -> list[Version]:
        """The versions that driveforge registered, that were never champion and have no alias; oldest first."""
        named = {version.number for alias in (CANDIDATE, CHAMPION) if (version := self.alias(alias))}
        found = self.client.search_model_versions(f"name='{self.name}'")
        versions = [_parse_version(version) for version in found if not getattr(version, "aliases", None)]
        refused = [v for v in versions if v.digest and not v.champion_since and v.number not in named]
        return sorted(refused, key=lambda version: int(version.number))

    def register(self, folder: Path, digest: str, tracker: Tracker) -> Version:
        """The version of the model in ``folder``, created if needed; it becomes the candidate.

        The tracker's run stores the files of a new version, and its evaluation.
        """
        known = self.with_digest(digest)
        if known is None:
            tracker.log_artifact(folder, MODEL_FOLDER)
            source = f"{tracker.client.get_run(tracker.run_id).info.artifact_uri}/{MODEL_FOLDER}"
            self._create_model()
            created = self.client.create_model_version(self.name, source, tracker.run_id, tags={_DIGEST: digest})
            number = str(created.version)
        else:
            number = known.number
        self._set_tags(number, {_EVALUATION_RUN: tracker.run_id})
        self.client.set_registered_model_alias(self.name, CANDIDATE, number)
        return self._require_version(number)

    def describe(self, version: Version, text: str) -> None:
        """Set the description of a version."""
        self.client.update_model_version(self.name, version.number, text)

    def set_champion(self, version: Version, previous: Version | None) -> None:
        """Make ``version`` champion after ``previous``, unless it is; raises UserError if another one is by now."""
        now = self.alias(CHAMPION)
        if now and now.number == version.number:
            return
        if (now and now.number) != (previous and previous.number):
            raise UserError(f"the champion has changed to {now or 'none'}; run promote again")
        self._set_tags(version.number, {_PREVIOUS: previous.number if previous else "", _SINCE: _now()})
        self.client.set_registered_model_alias(self.name, CHAMPION, version.number)

    def roll_back(self) -> tuple[Version, Version]:
        """Make the previous champion the champion again; returns the demoted version and the new champion.

        Raises UserError if there is no champion, or none before it.
        """
        champion = self.alias(CHAMPION)
        if champion is None:
            raise UserError(f"{self.name} has no champion, so there is nothing to roll back")
        if not champion.champion_since:
            raise UserError(
                f"{champion} was made champion manually, so its predecessor is unknown: move the alias in MLflow"
            )
        if not champion.previous:
            raise UserError(f"{champion} is the first champion: there is nothing to roll back to")
        previous = self._require_version(champion.previous)
        self._set_tags(champion.number, {_ROLLED_BACK: _now()})
        self.client.set_registered_model_alias(self.name, CHAMPION, previous.number)
        return champion, previous

    def folder(self, version: Version, downloads: Path) -> Path:
        """The folder of a version: its local path, or a copy that is downloaded once to ``downloads``."""
        from mlflow.artifacts import download_artifacts
        from mlflow.utils.file_utils import local_file_uri_to_path

        if version.source.startswith("file:"):
            return Path(local_file_uri_to_path(version.source))
        folder = downloads / version.digest
        if not folder.is_dir():
            scratch = downloads / f".{version.digest}.{os.getpid()}"
            got = download_artifacts(version.source, dst_path=str(scratch), tracking_uri=self.client.tracking_uri)
            os.replace(got, folder)
            scratch.rmdir()
        return folder

    def evaluation_file(self, version: Version, name: str, scratch: Path) -> Path | None:
        """The file ``name`` of a version's evaluation, copied to ``scratch``; None if there is none."""
        if not version.evaluation_run:
            return None
        if name not in {file.path for file in self.client.list_artifacts(version.evaluation_run)}:
            return None
        return Path(self.client.download_artifacts(version.evaluation_run, name, str(scratch)))

    def _require_version(self, number: str) -> Version:
        version = self.version(number)
        if version is None:
            raise UserError(f"version {number} of {self.name} has been deleted from the registry")
        return version

    def _lookup(self, query: Any) -> Version | None:
        from mlflow.exceptions import MlflowException

        try:
            return _parse_version(query())
        except MlflowException as error:
            # MLflow reports a missing alias as an invalid parameter, and a missing model as a missing resource.
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _create_model(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _set_tags(self, number: str, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, number, key, value)


def open_registry(run: RunDir, tracking: TrackingSettings, name: str) -> Registry:
    """The versions of the model ``name``; raises UserError if there is no MLflow store yet or it does not respond."""
    store = find_store(run, tracking)
    if not store.exists:
        raise UserError(f"no models are registered in {run.root.parent}: promote one first, or set run_dir=RUN")
    return Registry(client=open_store(store), name=name)


def promotion_lock(run: RunDir) -> AbstractContextManager[None]:
    """Wait until no other process promotes or rolls back in the store of ``run``."""
    return file_lock(run.promotion_lock)


def _parse_version(found: Any) -> Version:
    tags = found.tags
    return Version(
        number=str(found.version),
        digest=tags.get(_DIGEST, ""),
        source=found.source,
        evaluation_run=tags.get(_EVALUATION_RUN, ""),
        previous=tags.get(_PREVIOUS, ""),
        champion_since=tags.get(_SINCE, ""),
        rolled_back=tags.get(_ROLLED_BACK, ""),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
