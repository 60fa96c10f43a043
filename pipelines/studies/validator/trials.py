"""The trials of the validator study: good clips, and the same spoilt in every way, measured by us and by peers."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip
from driveforge.pipelines.processes.parallel import on_all_cores
from driveforge.pipelines.studies.validator.baselines.catalogue import PEERS
from driveforge.pipelines.studies.validator.clips import GoodClip, make
from driveforge.validation.corruptions.catalogue import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import NotApplicable
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures

# Between the two of the catalogue, a strength for which a promise is made (see ``results``).
BETWEEN = {"yaw-rate": 2.0, "pose-jitter": 0.2, "lateral-drift": 0.5}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One good clip and what is done to it: ``kinds`` each at every strength, none for a clip that stays good."""

    good: GoodClip
    kinds: tuple[str, ...] = ()
    with_peers: bool = False

    @property
    def name(self) -> str:
        what = f"{len(self.kinds)} kinds" if self.kinds else "good"
        return f"{self.good.rows}-{len(self.good.cameras)}-{self.good.seed}-{self.good.number}-{what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One measured clip; ``kind`` is "" where it was left good. ``seconds`` are of our measures, on one core.

    ``peers`` is empty where they did not judge the clip.
    """

    number: int
    rows: int
    condition: str
    variant: str
    kind: str
    level: str
    measures: Measures
    peers: dict[str, float | None]
    seconds: float


def run_cases(cases: Sequence[Case], ledger: Path) -> list[Trial]:
    """Trials of all cases; those in the ``ledger`` (JSON lines) are taken from it, the others are made and added."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    stored = dict(_stored(ledger))
    missing = [case for case in cases if case.name not in stored]
    with ledger.open("a") as file:
        results = track(on_all_cores(try_case, missing), f"Trying {ledger.stem}", len(missing), disable=not missing)
        for case, records in zip(missing, results, strict=True):
            stored[case.name] = records
            file.write(json.dumps({"case": case.name, "trials": records}) + "\n")
            file.flush()
    return [_trial(record) for case in cases for record in stored[case.name]]


def _stored(ledger: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    lines = ledger.read_text().splitlines() if ledger.is_file() else []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the line at which a killed run stopped
            continue
        yield record["case"], record["trials"]


def try_case(case: Case) -> list[dict[str, Any]]:
    """Records of the good clip, or of all that was made of it; what cannot be done to this clip is left out."""
    clip = make(case.good)
    if not case.kinds:
        return [_record(case, clip, "", "")]
    other = make(GoodClip(number=case.good.number + 1, rows=case.good.rows, seed=case.good.seed + 1))
    records = []
    for kind in case.kinds:
        for level, strength in strengths(kind).items():
            try:
                spoilt = corrupt(clip, kind, strength, seed=case.good.number, other=other)
            except NotApplicable:
                continue
            records.append(_record(case, spoilt, kind, level))
    return records


def strengths(kind: str) -> dict[str, float]:
    """The strength of each level at which a kind is tried, in its unit."""
    about = CORRUPTIONS[kind]
    between = {"between": BETWEEN[kind]} if kind in BETWEEN else {}
    return {"mild": about.mild, **between, "strong": about.strong}


def _record(case: Case, clip: Clip, kind: str, level: str) -> dict[str, Any]:
    began = time.process_time()
    measures = measure(clip)
    seconds = time.process_time() - began
    trial = Trial(
        number=case.good.number,
        rows=case.good.rows,
        condition=case.good.condition,
        variant=case.good.variant,
        kind=kind,
        level=level,
        measures=measures,
        peers={name: peer(clip).value for name, peer in PEERS.items()} if case.with_peers else {},
        seconds=seconds,
    )
    return {**asdict(trial), "measures": measures.to_json()}


def _trial(record: dict[str, Any]) -> Trial:
    return Trial(**{**record, "measures": Measures.from_json(record["measures"])})
