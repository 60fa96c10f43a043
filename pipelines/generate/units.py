"""Work units: fixed lists of requests that one worker turns into one tar and commits once; a plan lists them all."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import create_file
from driveforge.datasets.files.json_record import parse_json
from driveforge.pipelines.generate.requests import Request, canonical_json, request_from_json, request_to_json
from driveforge.pipelines.processes.threads import NUM_THREADS

PLAN_FILE = "plan.jsonl"
_RECREATE_HINT = "delete it; a run with the same data, model and settings writes it again"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkUnit:
    id: str
    requests: tuple[Request, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPlan:
    """``id`` is the sha256 of the plan file, a pure function of the requests, their grouping and ``NUM_THREADS``."""

    id: str
    units: tuple[WorkUnit, ...]


def make_units(requests: Sequence[Request], clips_per_unit: int) -> tuple[WorkUnit, ...]:
    """Group consecutive requests, ``clips_per_unit`` per unit; raises UserError if a clip is requested twice."""
    if clips_per_unit < 1:
        raise UserError(f"generate.clips_per_unit must be at least 1, got {clips_per_unit}")
    ids = [request.scene.clip_id for request in requests]
    if repeated := {clip_id for clip_id in ids if ids.count(clip_id) > 1}:
        raise UserError(f"a clip is requested twice: {', '.join(sorted(repeated))}")
    starts = range(0, len(requests), clips_per_unit)
    return tuple(
        WorkUnit(id=f"unit-{i:06d}", requests=tuple(requests[s : s + clips_per_unit])) for i, s in enumerate(starts)
    )


def open_or_create_plan(root: Path, requests: Sequence[Request], clips_per_unit: int) -> GenerationPlan:
    """The plan under ``root``, created if there is none; raises UserError if another plan is there."""
    units = make_units(requests, clips_per_unit)
    content = b"".join(canonical_json(_unit_to_json(unit)) + b"\n" for unit in units)
    path = root / PLAN_FILE
    expected = hashlib.sha256(content).hexdigest()
    if not path.exists():
        create_file(path, content)
    if not path.is_file():
        raise UserError(f"{path} is not a file; {_RECREATE_HINT}")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        read_plan(root)  # raises a more precise error if the plan is damaged
        raise UserError(
            f"{path} holds another plan ({actual[:12]}) than that of the current data, model and settings "
            f"({expected[:12]}): use the original ones to finish it, or another run_dir"
        )
    return GenerationPlan(id=expected, units=units)


def read_plan(root: Path) -> GenerationPlan:
    """Read the plan under ``root``; raises UserError, with the line, if the file is missing or damaged."""
    path = root / PLAN_FILE
    if not path.exists():
        raise UserError(f"{path} does not exist: nothing was generated yet")
    content = path.read_bytes()
    units = []
    for number, line in enumerate(content.splitlines(), start=1):
        where = f"{path} line {number}"
        try:
            record = parse_json(line, where, _RECREATE_HINT)
            requests = tuple(request_from_json(request, where) for request in record["requests"])
            units.append(WorkUnit(id=record["unit"], requests=requests))
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: is not a unit ({shorten(repr(error))}); {_RECREATE_HINT}") from error
    return GenerationPlan(id=hashlib.sha256(content).hexdigest(), units=tuple(units))


def _unit_to_json(unit: WorkUnit) -> dict[str, object]:
    return {
        "unit": unit.id,
        "threads": NUM_THREADS,
        "requests": [request_to_json(request) for request in unit.requests],
    }
