"""The report of a night: ``report.json`` with all of it, and ``report.md`` to read."""

import json
from typing import Any

from driveforge.datasets.files.atomic import write_atomic
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.commit import CommitLog
from driveforge.pipelines.nightly.decision import DecisionRecord, read_decision
from driveforge.pipelines.nightly.night import Night
from driveforge.pipelines.nightly.report_page import render_page
from driveforge.pipelines.nightly.status import Status
from driveforge.pipelines.registry.models import read_lineage
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.validate.gate import read_verdicts
from driveforge.validation.proportion import wilson_interval

REPORT_JSON, REPORT_PAGE = "report.json", "report.md"


def write_report(config: Config, night: Night) -> dict[str, Any]:
    """Write the report of a night whose stages are done; returns it as JSON values."""
    run, decision = config.run, read_decision(config.run)
    report = build_report(config, night, decision)
    write_atomic(run.root / REPORT_JSON, json.dumps(report, indent=2).encode() + b"\n")
    write_atomic(run.root / REPORT_PAGE, render_page(report).encode())
    return report


def build_report(config: Config, night: Night, decision: DecisionRecord) -> dict[str, Any]:
    run = config.run
    model = run.model if decision.is_promoted else run.refused_model
    lineage, clips = read_lineage(model), _count_clips(run)
    exported = run.shards if config.export.format == "webdataset" else getattr(run, config.export.format)
    status = _status(decision, clips["accepted"])
    start = "base" if not night.champion else f"version {night.champion}"
    return {
        "status": int(status),
        "outcome": "promoted" if decision.is_promoted else "refused",
        "text": _describe(night, decision, clips),
        "night": night.name,
        "run_dir": str(run.root.resolve()),
        "data": {
            "source": str(getattr(config.data, "root", config.data.name)),
            "digest": night.data,
            "clips": night.num_clips,
            "new_clips": night.num_new,
        },
        "model": {"digest": decision.model, "version": decision.version, "folder": str(model.resolve())},
        "parent": {"digest": lineage["base"], "is": start, "folder": night.start},
        "training": {
            "strategy": lineage["strategy"],
            "steps": lineage["training"]["steps"],
            "share": lineage["share"],
            "pools": lineage["pools"],
            "sample_counts": lineage["sample_counts"],
            "latents": lineage["driving"],
            "replay": lineage["replay"],
        },
        "code": lineage["code"],
        "decision": {
            "promoted": decision.is_promoted,
            "champion_before": decision.champion or None,
            "summary": decision.summary,
            "failed": list(decision.failed),
            "checks": list(decision.checks),
        },
        "clips": clips | {"model": "candidate" if decision.is_promoted else start},
        "export": str(exported.resolve()) if clips["accepted"] else None,
        "seconds": night.seconds,
    }


def _status(decision: DecisionRecord, num_accepted: int) -> Status:
    if not decision.is_promoted:
        return Status.REFUSED
    return Status.PROMOTED if num_accepted else Status.NOTHING_ACCEPTED


def _count_clips(run: RunDir) -> dict[str, Any]:
    """Clips by state, the accepted share with its 95 % interval, reasons, and the errors of failed units."""
    rows = read_verdicts(run.verdicts)
    counts = {state: sum(row["state"] == state for row in rows) for state in ("accepted", "rejected", "unmeasured")}
    reasons: dict[str, int] = {}
    for row in rows:
        codes = {reason["code"] for reason in row["reasons"]} if row["state"] != "accepted" else set()
        for code in sorted(codes):
            reasons[code] = reasons.get(code, 0) + 1
    failed = CommitLog(run.candidates).read_quarantine()
    return {
        "generated": len(rows),
        **counts,
        "accepted_share": counts["accepted"] / len(rows),
        "accepted_share_95": list(wilson_interval(counts["accepted"], len(rows))),
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "failed_units": {unit: error.strip().splitlines()[-1] for unit, error in failed.items()},
    }


def _describe(night: Night, decision: DecisionRecord, clips: dict[str, Any]) -> str:
    """One line, for a chat."""
    outcome = "promoted" if decision.is_promoted else "refused"
    return (
        f"driveforge night {night.name}: version {decision.version} {outcome} ({decision.summary}); "
        f"{clips['accepted']} of {clips['generated']} clips accepted"
    )
