"""The decision about the model of a night: registered as candidate, then promoted or refused."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from rich import get_console

from driveforge.datasets.files.atomic import sync_folder, write_atomic
from driveforge.datasets.files.json_record import read_record
from driveforge.finetune.evaluation.promotion_rule import PromotionCheck
from driveforge.finetune.evaluation.results import read_evaluations
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.nightly.probes import evaluate_models
from driveforge.pipelines.registry.messages import decision_lines, describe_check, headline
from driveforge.pipelines.registry.promote import Promotion, promote
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry, promotion_lock
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRecord:
    """The outcome; ``summary`` is one line, ``failed`` are the checks that prevented a promotion, in words.

    ``champion`` is the version that the candidate was compared with, "" if there was none. ``checks`` have the values
    and intervals of every comparison.
    """

    is_promoted: bool
    version: str
    model: str
    champion: str
    summary: str
    failed: tuple[str, ...]
    checks: tuple[dict[str, Any], ...]


def decide(config: Config, tracker: Tracker) -> None:
    """Promote or refuse the run's model and record that; a refused one moves to ``<run_dir>/refused``.

    Commands in the run folder then generate with the model that the fine-tune started from. Repeating this, after an
    interruption at any place, changes nothing.
    """
    run = config.run
    if not run.decision.exists():
        registry = open_registry(run, config.tracking, config.promote.registered_as)
        same = registry.with_digest(compute_model_digest(run.model))
        if same is not None and same.rolled_back:
            record = _refuse_rolled_back(same, registry.alias(CHAMPION))
        else:
            with promotion_lock(run), tracker.child("promote") as child:
                promotion = _promote(config, registry, child)
            for line in decision_lines(promotion.decision, promotion.candidate, promotion.champion):
                get_console().print(line, soft_wrap=True)
            record = _to_record(promotion)
        write_atomic(run.decision, json.dumps(asdict(record), indent=2).encode() + b"\n")
    if not read_decision(run).is_promoted and run.model.exists():
        os.rename(run.model, run.refused_model)
        sync_folder(run.root)


def read_decision(run: RunDir) -> DecisionRecord:
    return read_record(run.decision, DecisionRecord, "delete it to decide again")


def _promote(config: Config, registry: Registry, tracker: Tracker) -> Promotion:
    """Compare with the champion, or with the one before if an interrupted attempt has promoted the model already."""
    folder, digest = config.run.model, compute_model_digest(config.run.model)
    champion = registry.alias(CHAMPION)
    if champion is not None and champion.digest == digest:
        champion = registry.version(champion.previous) if champion.previous else None
    if champion is not None:
        _evaluate_champion(config, registry, champion, tracker)
    return promote(folder, digest, config.promote, registry, champion, config.run, tracker)


def _evaluate_champion(config: Config, registry: Registry, champion: Version, tracker: Tracker) -> None:
    """Evaluate the champion if it has changed since the night began, for example by a rollback."""
    table = config.run.evaluation
    if not any(model == champion.digest for _, model in read_evaluations(table)):
        evaluate_models(config, [registry.folder(champion, config.run.champions)], tracker)


def _refuse_rolled_back(same: Version, champion: Version | None) -> DecisionRecord:
    """The fine-tune gave a model, bit for bit, that was champion and was rolled back."""
    return DecisionRecord(
        is_promoted=False,
        version=same.number,
        model=same.digest,
        champion="" if champion is None else champion.number,
        summary=f"the same model was rolled back at {same.rolled_back}",
        failed=(),
        checks=(),
    )


def _to_record(promotion: Promotion) -> DecisionRecord:
    decision, champion = promotion.decision, promotion.champion
    return DecisionRecord(
        is_promoted=decision.is_promoted,
        version=promotion.candidate.number,
        model=promotion.candidate.digest,
        champion="" if champion is None else champion.number,
        summary=headline(decision),
        failed=tuple(map(describe_check, decision.failed)),
        checks=tuple(map(_check_to_json, decision.checks)),
    )


def _check_to_json(check: PromotionCheck) -> dict[str, Any]:
    """One comparison: means before and after, the relative regression with its bounds, and the outcome."""
    comparison, change = check.comparison, check.comparison.change
    return {
        "against": check.baseline,
        "domain": comparison.domain,
        "measure": comparison.measure,
        "clips": comparison.num_pairs,
        "before": None if change is None else change.before,
        "after": None if change is None else change.after,
        "regression": None if change is None else _finite(change.regression),
        "bounds": [None, None] if change is None else [_finite(bound) for bound in change.regression_bounds],
        "tolerance": check.tolerance,
        "state": check.state,
        "text": describe_check(check),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if abs(value) < float("inf") else None
