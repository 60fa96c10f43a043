"""What follows the gate: a static copy of the review in the run folder, and the counts and decisions in MLflow."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from driveforge.pipelines.config.config import Config
from driveforge.pipelines.generate.costs import CostLog
from driveforge.pipelines.inputs.instruments import load_instruments
from driveforge.pipelines.review.audit import AuditEstimate, audit_sample, blind_verdicts, estimate_audit
from driveforge.pipelines.review.clip_table import make_clip_table
from driveforge.pipelines.review.decisions import read_decision_log
from driveforge.pipelines.review.media import ClipMedia
from driveforge.pipelines.review.session import ReviewSession
from driveforge.pipelines.review.static_copy import CopyContents, write_copy
from driveforge.pipelines.tracking.runs import Tracker
from driveforge.pipelines.validate.gate import Decision, count_reasons, count_states
from driveforge.validation.calibration import Calibration

# Clips whose videos are copied after every gate and logged to MLflow; the command `review --out` copies all.
MAX_COPIED_CLIPS = 120
MLFLOW_FOLDER = "review"


def publish_review(config: Config, decisions: Sequence[Decision], tracker: Tracker) -> Path:
    """Write the copy to ``<run_dir>/review``, log it with the counts and the decisions, and return its page."""
    run = config.run
    table = make_clip_table(decisions, Calibration.load(config.calibration_path))
    contents = CopyContents(
        max_clips=MAX_COPIED_CLIPS, mlflow_run=tracker.run.id or "", mlflow_folder=f"{MLFLOW_FOLDER}/"
    )
    media = ClipMedia(table, config.data, partial(load_instruments, config.validate))
    session = ReviewSession(run, table, config.validate)
    write_copy(run.review, table, session, media, title=config.run_dir.resolve().name, contents=contents)
    costs = CostLog(run.candidates).total().per_accepted(count_states(decisions)["accepted"])
    tracker.log_metrics(count_metrics(decisions) | costs | audit_metrics(audit_run(config, decisions)))
    tracker.log_artifact(run.verdicts)
    tracker.log_table(run.review / "rejections.parquet", "rejections")
    tracker.log_artifact(run.review, MLFLOW_FOLDER)
    if run.decisions.exists():
        tracker.log_decisions(run.decisions, session.read().decisions)
    return run.review / "index.html"


def audit_run(config: Config, decisions: Sequence[Decision]) -> AuditEstimate:
    """What the blind audit says about the gate that made ``decisions``."""
    states = {decision.candidate.clip_id: decision.verdict.state for decision in decisions}
    sample = audit_sample(states, config.validate.audit_share, config.validate.audit_seed)
    return estimate_audit(states, sample, blind_verdicts(read_decision_log(config.run.decisions).decisions))


def count_metrics(decisions: Sequence[Decision]) -> dict[str, float]:
    """Clips by state, and rejected clips by reason."""
    states, reasons = count_states(decisions), count_reasons(decisions)
    by_state = {state: float(states[state]) for state in ("accepted", "rejected", "unmeasured")}
    return {
        "generated": float(len(decisions)),
        **by_state,
        **{f"reason/{c}": float(n) for c, n in sorted(reasons.items())},
    }


def audit_metrics(estimate: AuditEstimate) -> dict[str, float]:
    """The audit's estimates with the bounds of their intervals."""
    metrics = {"audit/judged": float(estimate.num_judged)}
    for name, found in (("precision", estimate.precision), ("miss_rate", estimate.miss_rate)):
        if found is not None:
            metrics[f"audit/{name}"] = found.estimate
            metrics[f"audit/{name}_low"], metrics[f"audit/{name}_high"] = found.low, found.high
    return metrics
