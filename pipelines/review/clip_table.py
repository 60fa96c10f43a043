"""The table of all clips for the page: one row each, small enough that thousands open at once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import track
from driveforge.datasets.webdataset_shards.format import load_json, video_member
from driveforge.datasets.webdataset_shards.tar_samples import read_members
from driveforge.pipelines.review.page_files import dump
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import Decision, read_decisions
from driveforge.validation.calibration import Calibration
from driveforge.validation.catalog import get_definition
from driveforge.validation.covariates import ClipCovariates
from driveforge.validation.guarantee import describe_false_reject_rate
from driveforge.validation.review.drawing import short_id


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTable:
    """The gate's decisions by clip id, in the order of the run, with the ``rows`` of the page.

    ``described`` are the JSON values of ``describe_table`` as bytes, since thousands of clips take a second.
    """

    decisions: Mapping[str, Decision]
    rows: Sequence[Mapping[str, Any]]
    calibration: Calibration
    described: bytes = field(default=b"", repr=False)

    @property
    def states(self) -> dict[str, str]:
        """The gate's state of every clip, without reviewers' decisions."""
        return {clip: decision.verdict.state for clip, decision in self.decisions.items()}


def read_clip_table(run: RunDir, calibration: Calibration) -> ClipTable:
    """The clips of a run. Raises UserError if the gate has not run, or a candidate is damaged."""
    decisions = read_decisions(run)
    if not decisions:
        raise UserError(f"{run.verdicts} has no verdict on a present clip: run `driveforge gate` again")
    return make_clip_table(decisions, calibration)


def make_clip_table(decisions: Iterable[Decision], calibration: Calibration) -> ClipTable:
    by_clip = {decision.candidate.clip_id: decision for decision in decisions}
    rows = [_row(decision) for decision in track(list(by_clip.values()), "Reading clips")]
    table = ClipTable(decisions=by_clip, rows=rows, calibration=calibration)
    return replace(table, described=dump(describe_table(table)))


def _row(decision: Decision) -> dict[str, Any]:
    candidate, verdict, metadata = decision.candidate, decision.verdict, decision.candidate.metadata
    scene = _read_scene_facts(decision)
    return {
        "id": candidate.clip_id,
        "state": verdict.state,
        "score": _rounded(verdict.score),
        "limit": _rounded(verdict.limit),
        "reasons": [_reason(reason) for reason in map(asdict, verdict.reasons)],
        "edit": metadata["edit"],
        "seed": metadata["seed"],
        "model": metadata["model"],
        **scene,
        **_conditions(candidate.measures.covariates),
    }


def _read_scene_facts(decision: Decision) -> dict[str, Any]:
    """What the page shows of the scene, from the sample's json alone."""
    ref = decision.candidate.ref
    content = read_members(ref.tar, {"json": ref.members["json"]})["json"]
    record = load_json(content, f"{ref.tar.name}: {ref.key}")
    return {
        "domain": record["domain"],
        "caption": record["caption"],
        "split": record["split"],
        "source": record["source"],
        "rate": record["frame_rate"] or 1.0,
        "frames": record["num_frames"],
        "cameras": [camera["name"] for camera in record["cameras"]],
        "videos": {camera["name"]: video_member(camera["name"]) for camera in record["cameras"]},
        "size": [record["cameras"][0]["width"], record["cameras"][0]["height"]],
    }


def _conditions(covariates: ClipCovariates | None) -> dict[str, str]:
    return {"motion": covariates.motion, "light": covariates.light} if covariates else {"motion": "", "light": ""}


def _reason(reason: Mapping[str, Any]) -> dict[str, Any]:
    shown = {key: reason[key] for key in ("code", "measure", "frames", "track", "text")}
    if reason["track"]:
        shown["text"] = reason["text"].replace(reason["track"], short_id(reason["track"]))
    return shown


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 4)


def measure_columns(table: ClipTable) -> dict[str, list[float | None]]:
    """The values of every measure over the rows, None where a clip has none; for filters and sorting."""
    columns: dict[str, list[float | None]] = {}
    for number, decision in enumerate(table.decisions.values()):
        for m in decision.candidate.measures.values:
            if m.value is not None:
                columns.setdefault(m.name, [None] * len(table.rows))[number] = float(f"{m.value:.4g}")
    return dict(sorted(columns.items()))


def describe_table(table: ClipTable) -> dict[str, Any]:
    """The table as JSON values, with the units of measures and the facts at the top of the page."""
    columns, calibration = measure_columns(table), table.calibration
    return {
        "rows": table.rows,
        "measures": columns,
        "units": {name: get_definition(name).unit.symbol for name in columns},
        "codes": _describe_codes(table),
        "calibration": {
            "name": calibration.name,
            "note": calibration.note,
            "false_rejects": describe_false_reject_rate(calibration),
        },
    }


def _describe_codes(table: ClipTable) -> dict[str, str]:
    """What every reason code of the run means."""
    counts = Counter((reason["code"], reason["measure"]) for row in table.rows for reason in row["reasons"])
    return {code: get_definition(measure).description for (code, measure), _ in counts.most_common() if measure}
