"""The outcome of every generated clip of a run: its conditions, its verdict and its cost."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from driveforge.datasets.ego_motion import ego_motion
from driveforge.datasets.geometry import inverse
from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.weather import weather_and_time
from driveforge.datasets.webdataset_shards.format import scene_from_members
from driveforge.datasets.webdataset_shards.tar_samples import read_members
from driveforge.pipelines.generate.costs import CostLog
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import Decision, read_decisions

# Upper edges of the bins: mean speed of the ego vehicle, m/s; mean yaw rate, deg/s; distance of the nearest object, m.
SPEEDS = (0.5, 5.0, 10.0, 15.0)
YAW_RATES = (2.0, 8.0)
DISTANCES = (8.0, 20.0, 40.0)
# The conditions of a report, in its order.
CONDITIONS = ("edit", "weather", "time_of_day", "speed", "turn_rate", "nearest_object", "attempt", "model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One generated clip. ``state`` is the decision, with the reviewer's if there is one; ``reasons`` of the gate.

    Conditions are texts, "" if unknown. ``seconds`` of a worker and ``gpu_seconds`` are NaN if they were not recorded;
    ``finished_at`` is UTC in ISO format, or "".
    """

    run: str
    clip_id: str
    state: str
    reasons: tuple[str, ...]
    edit: str
    weather: str
    time_of_day: str
    speed: str
    turn_rate: str
    nearest_object: str
    attempt: str
    model: str
    seconds: float
    gpu_seconds: float
    finished_at: str


def read_outcomes(run_dir: Path) -> list[Outcome]:
    """The outcomes of all candidates of a run that the gate has judged. Raises UserError if there are no verdicts."""
    return list(_outcomes(run_dir))


def outcome_table(outcomes: list[Outcome]) -> pa.Table:
    """One row for each outcome, with the fields of ``Outcome``."""
    types: dict[str, Any] = {"reasons": pa.list_(pa.string()), "seconds": pa.float64(), "gpu_seconds": pa.float64()}
    names = [field.name for field in fields(Outcome)]
    columns = {name: [getattr(outcome, name) for outcome in outcomes] for name in names}
    return pa.table(columns, schema=pa.schema({name: types.get(name, pa.string()) for name in names}))


def _outcomes(run_dir: Path) -> Iterator[Outcome]:
    run = RunDir(run_dir)
    costs = CostLog(run.candidates).read()
    for decision in track(read_decisions(run), f"Reading {run_dir.name}"):
        cost = costs.get(decision.candidate.ref.unit)
        seconds = cost.seconds_per_clip if cost else np.nan
        yield Outcome(
            run=run_dir.name,
            clip_id=decision.candidate.clip_id,
            state=decision.state,
            reasons=tuple(sorted({reason.code for reason in decision.verdict.reasons})),
            **_conditions(decision),
            seconds=seconds,
            gpu_seconds=seconds * cost.gpus if cost else np.nan,
            finished_at=cost.finished_at if cost else "",
        )


def _conditions(decision: Decision) -> dict[str, str]:
    candidate = decision.candidate
    names = ("json", "poses.npy", "tracks.npz")
    spans = {name: candidate.ref.members[name] for name in names if name in candidate.ref.members}
    scene = scene_from_members(read_members(candidate.ref.tar, spans), f"{candidate.ref.tar}: {candidate.clip_id}")[0]
    weather, time_of_day = weather_and_time(scene)
    motion = ego_motion(scene)
    return {
        "edit": str(candidate.metadata["edit"]),
        "weather": weather,
        "time_of_day": time_of_day,
        "speed": _bin(float(np.abs(motion.speed).mean()), SPEEDS, "m/s"),
        "turn_rate": _bin(float(np.degrees(np.abs(motion.yaw_rate)).mean()), YAW_RATES, "deg/s"),
        "nearest_object": _bin(_nearest_object(scene), DISTANCES, "m"),
        "attempt": str(candidate.metadata.get("attempt", 1)),
        "model": str(candidate.metadata["model"])[:12],
    }


def _nearest_object(scene: Scene) -> float:
    """Distance in m of the nearest object in front of the ego vehicle in any frame; NaN without pose, inf if none."""
    if scene.ego_to_world is None:
        return np.nan
    world_to_ego, nearest = inverse(scene.ego_to_world), np.inf
    for object_track in scene.tracks:
        centers = (world_to_ego @ object_track.box_to_world)[:, :3, 3]
        in_front = object_track.present & (centers[:, 0] > 0)
        nearest = min(nearest, float(np.linalg.norm(centers[in_front], axis=1).min(initial=np.inf)))
    return nearest


def _bin(value: float, edges: tuple[float, ...], unit: str) -> str:
    """The bin of ``value`` as text, in an order that sorts by value; "" if unknown."""
    if np.isnan(value):
        return ""
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return f"under {edges[0]:g} {unit}"
    if place == len(edges):
        return f"{edges[-1]:g} {unit} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g} {unit}"
