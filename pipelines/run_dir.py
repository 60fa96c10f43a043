"""Run folders: the paths of all files of a run, and the lock that admits one writing command at a time."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import file_lock
from driveforge.datasets.stores.location import cache_folder, is_store_url, normalized_url
from driveforge.pipelines.console import print_message

SETTINGS_FILE = "settings.yaml"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of a run folder, and of the files that it shares with other run folders of its parent."""

    root: Path

    @property
    def model(self) -> Path:
        """The fine-tuned model."""
        return self.root / "model"

    @property
    def refused_model(self) -> Path:
        """The fine-tuned model of a night, after it was refused."""
        return self.root / "refused"

    @property
    def checkpoints(self) -> Path:
        return self.root / "finetune"

    @property
    def latents(self) -> Path:
        return self.root / "latents"

    @property
    def cache_lock(self) -> Path:
        return self.root / ".caches.lock"

    @property
    def replay(self) -> Path:
        """Replay buffers of this run only."""
        return self.root / "replay"

    @property
    def evaluation(self) -> Path:
        """The evaluations of this run's models, as one table."""
        return self.root / "evaluation.parquet"

    @property
    def evaluation_picture(self) -> Path:
        return self.root / "evaluation.png"

    @property
    def promotion_picture(self) -> Path:
        return self.root / "promotion.png"

    @property
    def decision(self) -> Path:
        """The decision of a night about its model."""
        return self.root / "decision.json"

    @property
    def starting_champion(self) -> Path:
        """Record of the champion that the fine-tune started from."""
        return self.root / "champion.json"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates"

    @property
    def plan_picture(self) -> Path:
        return self.root / "plan.png"

    @property
    def tuning(self) -> Path:
        """The clips and tables of a search for sampler settings."""
        return self.root / "tune"

    @property
    def measures(self) -> Path:
        return self.root / "measures.parquet"

    @property
    def calibration(self) -> Path:
        return self.root / "calibration.json"

    @property
    def verdicts(self) -> Path:
        return self.root / "verdicts.parquet"

    @property
    def overrides(self) -> Path:
        """Verdicts of reviewers, written by hand."""
        return self.root / "overrides.json"

    @property
    def decisions(self) -> Path:
        """Verdicts of reviewers from the review page."""
        return self.root / "decisions.jsonl"

    @property
    def review(self) -> Path:
        """The static copy of the review page; the folder above it may hold files of reviewers."""
        return self.root / "review" / "page"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def nuscenes(self) -> Path:
        """The accepted clips in nuScenes format."""
        return self.root / "nuscenes"

    @property
    def clipgt(self) -> Path:
        """The accepted clips as ClipGT."""
        return self.root / "clipgt"

    @property
    def lerobot(self) -> Path:
        """The accepted clips as a LeRobot data set."""
        return self.root / "lerobot"

    @property
    def simulated(self) -> Path:
        """The simulated data set of the demo."""
        return self.root / "world"

    @property
    def mlflow_runs(self) -> Path:
        """The MLflow run ids of this run and its stages."""
        return self.root / "mlflow.json"

    @property
    def mlflow_outbox(self) -> Path:
        """Queued MLflow calls."""
        return self.root / "mlflow-waiting.jsonl"

    @property
    def settings(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def _shared(self) -> Path:
        return self.root.resolve().parent

    @property
    def evaluation_clips(self) -> Path:
        """Encoded held-out clips; this and the following are shared with the other run folders of the parent."""
        return self._shared / "evaluation"

    @property
    def persistent_replay(self) -> Path:
        """The default buffer of ``driveforge replay``."""
        return self.root.parent / "replay"

    @property
    def champions(self) -> Path:
        """Downloaded champions of a remote registry."""
        return self._shared / "champions"

    @property
    def promotion_lock(self) -> Path:
        return self._shared / ".promote.lock"

    @property
    def mlflow_store(self) -> Path:
        return self._shared / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self._shared / "mlartifacts"

    def has_outputs(self) -> bool:
        """Whether a command has written results here."""
        folders = (self.model, self.checkpoints, self.latents, self.candidates, self.shards)
        return any(path.exists() for path in (*folders, self.settings, self.calibration, self.verdicts))


def require_run(run_dir: Path) -> None:
    """Raise UserError, with a suggestion, if ``run_dir`` is not a run folder."""
    if not RunDir(run_dir).has_outputs():
        similar = find_similar_run(run_dir)
        advice = f"did you mean run_dir={similar}?" if similar else "create one with `driveforge run` or `finetune`"
        raise UserError(f"run_dir={run_dir} holds no run; {advice}")


def find_similar_run(run_dir: Path) -> Path | None:
    """The run folder in the same parent with the most similar name, or None."""
    siblings = run_dir.resolve().parent
    names = [path.parent.name for path in siblings.glob(f"*/{SETTINGS_FILE}")] if siblings.is_dir() else []
    similar = difflib.get_close_matches(
        run_dir.name, [name for name in names if name != run_dir.name], n=1, cutoff=0.75
    )
    return run_dir.parent / similar[0] if similar else None


def split_url(overrides: Sequence[str]) -> tuple[str, list[str]]:
    """The URL of a run folder in an object store, or "", and ``overrides`` with its working copy as the run folder."""
    given = [override.removeprefix("run_dir=") for override in overrides if override.startswith("run_dir=")]
    if not given or not is_store_url(given[-1]):
        return "", list(overrides)
    url = normalized_url(given[-1])
    others = [override for override in overrides if not override.startswith("run_dir=")]
    return url, [*others, f"run_dir={cache_folder(url)}"]


@contextmanager
def run_dir_lock(run_dir: Path, *, blocking: bool = True) -> Iterator[None]:
    """Wait, with a message, until no other command writes in ``run_dir``; removes a new folder that stayed empty.

    Raises UserError instead of waiting if not ``blocking``.
    """
    is_new = not run_dir.exists()
    try:
        with file_lock(run_dir / ".lock", print_message, blocking=blocking):
            yield
    finally:
        if is_new:
            with suppress(OSError):
                run_dir.rmdir()


def warn_if_similar(run_dir: Path) -> None:
    """Print a message if a new run has a name similar to an existing one."""
    if not (run_dir / SETTINGS_FILE).exists() and (similar := find_similar_run(run_dir)):
        print_message(f"creating a new run in {run_dir}; there is also {similar}")
