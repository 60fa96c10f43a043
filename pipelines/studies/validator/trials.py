"""The trials of the validator study: good and corrupted clips, measured by our measures and by baselines."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driveforge.datasets.progress import track
from driveforge.datasets.scene import Clip
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.validator.baselines.catalog import BASELINES
from driveforge.pipelines.studies.validator.clips import GoodClip, make_clip
from driveforge.validation.corruptions.catalog import CORRUPTIONS, corrupt
from driveforge.validation.corruptions.requirements import CorruptionNotApplicable
from driveforge.validation.measures import measure
from driveforge.validation.records import Measures

# Between the mild and strong strength of the catalog: strengths with an acceptance criterion (see ``results``), or in
# the section on the size of a calibration.
BETWEEN = {"yaw-rate": 2.0, "pose-jitter": 0.2, "lateral-drift": 0.5, "speed": 20.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One good clip and the ``corruption_types`` that are applied to it at every strength; none for a good clip."""

    good: GoodClip
    corruption_types: tuple[str, ...] = ()
    with_baselines: bool = False

    @property
    def name(self) -> str:
        what = f"{len(self.corruption_types)} types" if self.corruption_types else "good"
        return f"{self.good.rows}-{len(self.good.cameras)}-{self.good.seed}-{self.good.number}-{what}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One measured clip; ``corruption_type`` is "" for a good one. ``seconds`` are for our measures, on one core.

    ``baselines`` is empty if they were not computed for the clip.
    """

    number: int
    rows: int
    condition: str
    variant: str
    corruption_type: str
    level: str
    measures: Measures
    baselines: dict[str, float | None]
    seconds: float


def run_cases(cases: Sequence[Case], ledger: Path) -> list[Trial]:
    """Trials of all cases; finished ones are read from the ``ledger`` (JSON lines), the others are run and appended."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    stored = dict(_read_stored(ledger))
    missing = [case for case in cases if case.name not in stored]
    with ledger.open("a") as file:
        results = track(parallel_map(run_case, missing), f"Trying {ledger.stem}", len(missing), disable=not missing)
        for case, records in zip(missing, results, strict=True):
            stored[case.name] = records
            file.write(json.dumps({"case": case.name, "trials": records}) + "\n")
            file.flush()
    return [_parse_trial(record) for case in cases for record in stored[case.name]]


def _read_stored(ledger: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    lines = ledger.read_text().splitlines() if ledger.is_file() else []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the incomplete last line of a killed run
            continue
        yield record["case"], record["trials"]


def run_case(case: Case) -> list[dict[str, Any]]:
    """Records of the good clip, or of its corrupted versions; corruptions that do not apply are left out."""
    clip = make_clip(case.good)
    if not case.corruption_types:
        return [_make_record(case, clip, "", "")]
    other = make_clip(GoodClip(number=case.good.number + 1, rows=case.good.rows, seed=case.good.seed + 1))
    records = []
    for corruption_type in case.corruption_types:
        for level, strength in strengths(corruption_type).items():
            try:
                corrupted = corrupt(clip, corruption_type, strength, seed=case.good.number, other=other)
            except CorruptionNotApplicable:
                continue
            records.append(_make_record(case, corrupted, corruption_type, level))
    return records


def strengths(corruption_type: str) -> dict[str, float]:
    """The strength of each level of a corruption type, in its unit."""
    corruption = CORRUPTIONS[corruption_type]
    between = {"between": BETWEEN[corruption_type]} if corruption_type in BETWEEN else {}
    return {"mild": corruption.mild, **between, "strong": corruption.strong}


def _make_record(case: Case, clip: Clip, corruption_type: str, level: str) -> dict[str, Any]:
    start_time = time.process_time()
    measures = measure(clip)
    seconds = time.process_time() - start_time
    trial = Trial(
        number=case.good.number,
        rows=case.good.rows,
        condition=case.good.condition,
        variant=case.good.variant,
        corruption_type=corruption_type,
        level=level,
        measures=measures,
        baselines={name: baseline(clip).value for name, baseline in BASELINES.items()} if case.with_baselines else {},
        seconds=seconds,
    )
    return {**asdict(trial), "measures": measures.to_json()}


def _parse_trial(record: dict[str, Any]) -> Trial:
    return Trial(**{**record, "measures": Measures.from_json(record["measures"])})
