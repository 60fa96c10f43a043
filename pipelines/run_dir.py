"""A run folder: where a run keeps what it makes, and one command at a time writes there."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.lock import file_lock
from driveforge.pipelines.console import print_message

SETTINGS_FILE = "settings.yaml"


@dataclass(frozen=True, slots=True)
class RunDir:
    """Every file and folder of a run, and those that it shares with the runs beside it."""

    root: Path

    @property
    def model(self) -> Path:
        """The fine-tuned model."""
        return self.root / "model"

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
        """Replay buffers of this run alone."""
        return self.root / "replay"

    @property
    def evaluation(self) -> Path:
        """A table of the evaluations of this run's models."""
        return self.root / "evaluation.parquet"

    @property
    def evaluation_picture(self) -> Path:
        return self.root / "evaluation.png"

    @property
    def promotion_picture(self) -> Path:
        return self.root / "promotion.png"

    @property
    def starting_champion(self) -> Path:
        """Which champion the fine-tune started from."""
        return self.root / "champion.json"

    @property
    def candidates(self) -> Path:
        return self.root / "candidates"

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
        """Decisions of reviewers."""
        return self.root / "overrides.json"

    @property
    def review(self) -> Path:
        return self.root / "review"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def simulated(self) -> Path:
        """The data set that the demo simulates."""
        return self.root / "world"

    @property
    def mlflow_runs(self) -> Path:
        """Ids of this run and its stages in MLflow."""
        return self.root / "mlflow.json"

    @property
    def mlflow_outbox(self) -> Path:
        """What MLflow has not taken yet."""
        return self.root / "mlflow-waiting.jsonl"

    @property
    def settings(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def _shared(self) -> Path:
        return self.root.resolve().parent

    @property
    def evaluation_clips(self) -> Path:
        """Encoded held-out clips, shared by the runs beside this one, like all that follows."""
        return self._shared / "evaluation"

    @property
    def persistent_replay(self) -> Path:
        """The default buffer of ``driveforge replay``."""
        return self.root.parent / "replay"

    @property
    def champions(self) -> Path:
        """Copies of champions from a registry elsewhere."""
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
        """Whether a command has made anything here."""
        made = (self.settings, self.model, self.checkpoints, self.latents, self.candidates)
        return any(path.exists() for path in (*made, self.calibration, self.verdicts, self.shards))


def require_run(run_dir: Path) -> None:
    """A UserError where ``run_dir`` is no run folder, with the nearest that is one."""
    if not RunDir(run_dir).has_outputs():
        similar = find_similar_run(run_dir)
        advice = (
            f"did you mean run_dir={similar}?" if similar else "begin with `driveforge run` or `driveforge finetune`"
        )
        raise UserError(f"run_dir={run_dir} holds no run; {advice}")


def find_similar_run(run_dir: Path) -> Path | None:
    """The run folder beside ``run_dir`` with the most similar name, if any is similar."""
    siblings = run_dir.resolve().parent
    names = [path.parent.name for path in siblings.glob(f"*/{SETTINGS_FILE}")] if siblings.is_dir() else []
    similar = difflib.get_close_matches(
        run_dir.name, [name for name in names if name != run_dir.name], n=1, cutoff=0.75
    )
    return run_dir.parent / similar[0] if similar else None


@contextmanager
def run_dir_lock(run_dir: Path, *, blocking: bool = True) -> Iterator[None]:
    """Waits, with a word, until no other command writes in ``run_dir``; a folder that stays empty goes again.

    A UserError instead where it ``blocking`` not.
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
    """A word where a run is begun beside one with a similar name."""
    if not (run_dir / SETTINGS_FILE).exists() and (similar := find_similar_run(run_dir)):
        print_message(f"this begins a new run in {run_dir}; there is {similar}")
