"""The state of a night: one JSON file in its run folder, which is written after every stage.

A night is a run folder ``<nights>/<date>``. It is unfinished until it has an outcome; a pass continues the unfinished
night, on whatever date it began, before it looks for new data.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic import write_atomic
from driveforge.datasets.files.json_record import read_record

STATE_FILE, CLIPS_FILE = "night.json", "clips.json"
Outcome = Literal["", "promoted", "refused", "superseded"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """``data`` is the digest of the training clips, ``num_new`` of which no earlier finished night had.

    ``start`` is the folder of the model that is fine-tuned, ``champion`` its version in the registry or "" if there was
    no champion; ``base`` is the model without any fine-tuning. ``stages`` are done, ``seconds`` is their time.
    ``latents`` are the keys of its caches in the shared folder of latents. ``outcome`` is "" until it is finished.
    """

    name: str
    began: str
    data: str
    num_clips: int
    num_new: int
    start: str
    champion: str
    base: str
    stages: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    latents: tuple[str, ...] = ()
    outcome: Outcome = ""

    @property
    def is_finished(self) -> bool:
        return self.outcome != ""

    def has(self, stage: str) -> bool:
        return stage in self.stages

    def after(self, stage: str, seconds: float) -> "Night":
        """The night with one more stage done; times of interrupted attempts add up."""
        known = self.seconds.get(stage, 0.0)
        stages = (*self.stages, stage) if stage not in self.stages else self.stages
        return replace(self, stages=stages, seconds=self.seconds | {stage: round(known + seconds, 1)})


def list_nights(folder: Path) -> list[Night]:
    """All nights in ``folder``, oldest first."""
    return sorted(_read_nights(folder), key=lambda night: (night.began, night.name))


def find_unfinished(folder: Path) -> Night | None:
    """The night that a pass continues, or None."""
    return next((night for night in reversed(list_nights(folder)) if not night.is_finished), None)


def write_night(folder: Path, night: Night) -> None:
    write_atomic(folder / night.name / STATE_FILE, json.dumps(asdict(night), indent=2).encode() + b"\n")


def write_clips(run_dir: Path, clips: list[str]) -> None:
    """Store the digests of the training clips of a night."""
    write_atomic(run_dir / CLIPS_FILE, json.dumps(clips).encode() + b"\n")


def read_clips(run_dir: Path) -> list[str]:
    return read_record(run_dir / CLIPS_FILE, list[str], "delete the folder of the night to train on its clips again")


def known_clips(folder: Path) -> set[str]:
    """The digests of all clips that a finished night was trained on, whether its model was promoted or refused."""
    trained = [night for night in list_nights(folder) if night.outcome in ("promoted", "refused")]
    return {clip for night in trained for clip in read_clips(folder / night.name)}


def new_name(folder: Path) -> str:
    """Today's date, with a number if there was a night today already."""
    today = date.today().isoformat()
    names = [today, *(f"{today}-{number}" for number in range(2, 1000))]
    return next(name for name in names if not (folder / name / STATE_FILE).exists())


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="microseconds")


def _read_nights(folder: Path) -> Iterator[Night]:
    for path in sorted(folder.glob(f"*/{STATE_FILE}")):
        night = read_record(path, Night, "restore it, or move its folder out of the folder of nights")
        if night.name != path.parent.name:
            raise UserError(f"{path}: is the state of the night {night.name}; rename the folder to that")
        yield night
