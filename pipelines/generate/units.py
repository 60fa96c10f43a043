"""Work units: fixed lists of requests that one worker turns into one tar and commits once; a plan lists them all.

<root>/plan.jsonl        one unit per line, with its planned requests
<root>/plan-02.jsonl     units that were appended to the plan later, if any; then plan-03.jsonl and so on
<root>/scenes/           the edited scenes of the requests, and
<root>/first_frames/     their first frames, in files named after their content

A plan is written and read line by line: a unit is parsed when it is taken from the plan, and a request, with its scene,
when it is taken from the unit.
"""

import hashlib
import itertools
import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from driveforge.datasets.errors import UserError, shorten
from driveforge.datasets.files.atomic import atomic_file
from driveforge.datasets.files.json_record import parse_json
from driveforge.pipelines.generate.requests import (
    PlannedRequest,
    Request,
    canonical_json,
    planned_from_json,
    planned_to_json,
    request_from_json,
    settings_from_json,
    settings_to_json,
)
from driveforge.pipelines.processes.threads import NUM_THREADS

PLAN_FILE = "plan.jsonl"
_PART = re.compile(r"plan-(\d{2,})\.jsonl")
_RECREATE_HINT = "delete it; a run with the same data, model and settings writes it again"
_SIX_DIGITS = 10**6


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkUnit:
    """``requests`` of a plan are loaded one by one as they are taken; ``clip_ids`` loads nothing."""

    id: str
    requests: Sequence[Request]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        if isinstance(self.requests, StoredRequests):
            return self.requests.clip_ids
        return tuple(request.scene.clip_id for request in self.requests)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRequests(Sequence[Request]):
    """The requests of a unit at ``where`` in a plan, as records that are parsed when they are taken.

    Their scenes are stored under ``root``; ``settings`` are those that they name. A record of an older plan holds all.
    """

    root: Path
    where: str
    settings: tuple[Any, ...]
    records: tuple[dict[str, Any], ...]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        return tuple(map(_clip_id, self.records))

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, key: int) -> Request: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Request]: ...

    def __getitem__(self, key: int | slice) -> Request | Sequence[Request]:
        if isinstance(key, slice):
            return replace(self, records=self.records[key])
        record = self.records[key]
        if isinstance(record["scene"], dict):
            return request_from_json(record, self.where)
        return self.planned(key).load(self.root)

    def planned(self, number: int) -> PlannedRequest:
        """A request as it is planned, without its scene; raises UserError if it is one of an older plan."""
        settings = [settings_from_json(entry, self.where) for entry in self.settings]
        return planned_from_json(self.records[number], settings, self.where)


def _clip_id(record: dict[str, Any]) -> str:
    clip_id = record["scene"]["clip_id"] if isinstance(record["scene"], dict) else record["clip_id"]
    if not isinstance(clip_id, str):
        raise TypeError("clip_id must be text")
    return clip_id


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationPlan:
    """``id`` is the sha256 of the plan, a pure function of the requests, their grouping and ``NUM_THREADS``.

    ``units`` of a stored plan are read from its files as they are taken, in any order.
    """

    id: str
    units: Sequence[WorkUnit]
    # The sha256 of each of its files.
    part_digests: tuple[str, ...] = ()


def unit_id(number: int) -> str:
    """The name of a unit; names sort like their numbers, of any length: ``unit-999999``, ``unit-a1000000``."""
    if number < _SIX_DIGITS:
        return f"unit-{number:06d}"
    digits = str(number)
    return f"unit-{chr(ord('a') + len(digits) - 7)}{digits}"


def iter_unit_ids(units: Sequence[WorkUnit]) -> Iterator[str]:
    """The ids of ``units``; those of a stored plan without parsing it."""
    return map(unit_id, range(len(units))) if isinstance(units, StoredUnits) else (unit.id for unit in units)


def open_or_create_plan(root: Path, requests: Iterable[PlannedRequest], clips_per_unit: int) -> GenerationPlan:
    """The plan under ``root``, created if there is none; raises UserError if it is not that of ``requests``."""
    path, lines = root / PLAN_FILE, _unit_lines(requests, clips_per_unit, 0)
    if not path.exists():
        with atomic_file(path) as file:
            file.writelines(lines)
    else:
        _require_same(root, lines)
    return read_plan(root)


def append_units(root: Path, requests: Iterable[PlannedRequest], clips_per_unit: int) -> GenerationPlan:
    """The plan under ``root`` with a further part for ``requests``, whose units go on in number.

    The clip ids of ``requests`` must differ from all others of the plan.
    """
    plan = read_plan(root)
    lines = _unit_lines(requests, clips_per_unit, len(plan.units))
    with atomic_file(root / f"plan-{len(_part_paths(root)) + 1:02d}.jsonl") as file:
        file.writelines(lines)
    return read_plan(root)


def read_plan(root: Path) -> GenerationPlan:
    """The plan under ``root`` with all of its parts.

    Raises UserError if a file is missing or its last line is torn; another damaged line when its unit is taken.
    """
    parts = [_read_part(path) for path in _part_paths(root)]
    digests = tuple(part.sha256 for part in parts)
    plan_id = digests[0] if len(parts) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    return GenerationPlan(id=plan_id, units=StoredUnits(root, parts), part_digests=digests)


def _part_paths(root: Path) -> list[Path]:
    first = root / PLAN_FILE
    if not first.exists():
        raise UserError(f"{first} does not exist: nothing was generated yet")
    if not first.is_file():
        raise UserError(f"{first} is not a file; {_RECREATE_HINT}")
    numbered = [(int(match[1]), path) for path in root.glob("plan-*.jsonl") if (match := _PART.fullmatch(path.name))]
    return [first, *(path for _, path in sorted(numbered))]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Part:
    """One file of a plan, and where each of its lines starts."""

    path: Path
    sha256: str
    starts: "array[int]"

    def read_line(self, number: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.starts[number])
            return file.readline()


def _read_part(path: Path) -> _Part:
    digest, starts, position, line = hashlib.sha256(), array("Q"), 0, b"\n"
    with path.open("rb") as file:
        for line in file:
            digest.update(line)
            starts.append(position)
            position += len(line)
    if not line.endswith(b"\n"):
        raise UserError(f"{path} line {len(starts)}: is not a unit (its end is missing); {_RECREATE_HINT}")
    return _Part(path=path, sha256=digest.hexdigest(), starts=starts)


class StoredUnits(Sequence[WorkUnit]):
    """The units of a plan's files, parsed one by one."""

    def __init__(self, root: Path, parts: Sequence[_Part]) -> None:
        self._root, self._parts = root, parts
        # The number of units before each part, and in all.
        self._before = [0, *itertools.accumulate(len(part.starts) for part in parts)]

    def __len__(self) -> int:
        return self._before[-1]

    @overload
    def __getitem__(self, key: int) -> WorkUnit: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[WorkUnit]: ...

    def __getitem__(self, key: int | slice) -> WorkUnit | Sequence[WorkUnit]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        number = key + len(self) if key < 0 else key
        if not 0 <= number < len(self):
            raise IndexError(f"unit {key} of {len(self)}")
        which = bisect_right(self._before, number) - 1
        part, line = self._parts[which], number - self._before[which]
        return _parse_unit(self._root, part.read_line(line), f"{part.path} line {line + 1}", unit_id(number))

    def __iter__(self) -> Iterator[WorkUnit]:
        for part, before in zip(self._parts, self._before, strict=False):
            with part.path.open("rb") as file:
                for number, line in enumerate(file):
                    where = f"{part.path} line {number + 1}"
                    yield _parse_unit(self._root, line, where, unit_id(before + number))


def _require_same(root: Path, lines: Iterable[bytes]) -> None:
    """Raise UserError if the plan under ``root`` does not have the clips of ``lines``, or is damaged."""
    read_plan(root)  # raises UserError if its end is missing
    path = root / PLAN_FILE
    with path.open("rb") as file:
        for number, (actual, expected) in enumerate(itertools.zip_longest(file, lines), start=1):
            if actual == expected:
                continue
            # Plans of older versions hold whole scenes.
            if actual and expected and _request_ids(root, actual, number) == _request_ids(root, expected, number):
                continue
            raise UserError(
                f"{path} holds another plan than that of the current data, model and settings, from line {number} on: "
                "use the original ones to finish it, or another run_dir"
            )


def _request_ids(root: Path, line: bytes, number: int) -> list[str]:
    unit = _parse_unit(root, line, f"{root / PLAN_FILE} line {number}", unit_id(number - 1))
    return [request.id for request in unit.requests]


def _unit_lines(requests: Iterable[PlannedRequest], clips_per_unit: int, first: int) -> Iterator[bytes]:
    """The lines of units of consecutive requests, ``clips_per_unit`` each, numbered from ``first``."""
    if clips_per_unit < 1:
        raise UserError(f"generate.clips_per_unit must be at least 1, got {clips_per_unit}")
    remaining = iter(requests)
    for number in itertools.count(first):
        group = list(itertools.islice(remaining, clips_per_unit))
        if not group:
            return
        settings = list(dict.fromkeys(planned.settings for planned in group))
        record = {
            "unit": unit_id(number),
            "threads": NUM_THREADS,
            "settings": [settings_to_json(entry) for entry in settings],
            "requests": [planned_to_json(planned, settings) for planned in group],
        }
        yield canonical_json(record) + b"\n"


def _parse_unit(root: Path, line: bytes, where: str, name: str) -> WorkUnit:
    try:
        record = _parse_line(line, where)
        if record["unit"] != name or not isinstance(record["requests"], list):
            raise TypeError(f"unit must be {name}, and requests a list")
        requests = StoredRequests(
            root=root,
            where=where,
            settings=tuple(record.get("settings", ())),
            records=tuple(record["requests"]),
        )
        requests.clip_ids  # noqa: B018  # raises if a record is none
    except (KeyError, TypeError) as error:
        raise UserError(f"{where}: is not a unit ({shorten(repr(error))}); {_RECREATE_HINT}") from error
    return WorkUnit(id=name, requests=requests)


def _parse_line(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)  # twice as fast as with the checks that name what is wrong
    except ValueError:
        return parse_json(line, where, _RECREATE_HINT)
