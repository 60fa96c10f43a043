"""Promotion: a fine-tuned model becomes champion if driving improved and no other domain regressed."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich import get_console

from driveforge.datasets.errors import UserError
from driveforge.finetune.evaluation.history import CheckpointEvaluation, compute_transfer, read_history
from driveforge.finetune.evaluation.promotion_rule import PromotionDecision, decide_promotion
from driveforge.finetune.evaluation.promotion_settings import PromotionRule
from driveforge.finetune.evaluation.results import Evaluation, append_evaluation
from driveforge.finetune.world_model.model import compute_model_digest
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.registry.messages import decision_lines, plain_summary
from driveforge.pipelines.registry.models import BASE, MODEL_FILE, read_lineage
from driveforge.pipelines.registry.plot import plot_promotion
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry, promotion_lock
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run

# Artifact of a promotion: the evaluation of the model that the first champion was fine-tuned from.
ORIGIN_FILE = "origin.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """The decision about ``candidate``; ``champion`` is the previous champion, ``picture`` shows the checks."""

    candidate: Version
    champion: Version | None
    decision: PromotionDecision
    picture: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _EvaluatedModels:
    """The evaluations that a decision needs; ``origin`` is the model that the first champion was fine-tuned from."""

    history: list[CheckpointEvaluation]
    candidate: CheckpointEvaluation
    champion: CheckpointEvaluation | None
    origin: CheckpointEvaluation

    @property
    def references(self) -> dict[str, Evaluation]:
        champion = {} if self.champion is None else {"champion": self.champion.evaluation}
        return champion | {"base": self.origin.evaluation}


def main(config: Config, args: argparse.Namespace) -> int:
    """Promote or refuse; exit status 1 if the candidate is refused."""
    folder = args.candidate or config.run.model
    if not (folder / MODEL_FILE).is_file():
        raise UserError(f"{folder} holds no {MODEL_FILE}; give a model folder, or run_dir=RUN of a fine-tune")
    digest = compute_model_digest(folder)
    with promotion_lock(config.run), pipeline_run(config, "promote") as tracker:
        registry = open_registry(config.run, config.tracking, config.promote.registered_as)
        champion = registry.alias(CHAMPION)
        if champion and champion.digest == digest:
            print_result(f"{champion} is already champion")
            return 0
        promotion = promote(folder, digest, config.promote, registry, champion, config.run, tracker)
    for line in decision_lines(promotion.decision, promotion.candidate, promotion.champion):
        get_console().print(line, soft_wrap=True)
    print_result(f"picture: {promotion.picture}")
    return 0 if promotion.decision.is_promoted else 1


def promote(
    folder: Path,
    digest: str,
    rule: PromotionRule,
    registry: Registry,
    champion: Version | None,
    run: RunDir,
    tracker: Tracker,
) -> Promotion:
    """Compare the model in ``folder`` with ``champion`` and the base, register it, and make it champion if it passes.

    Hold ``promotion_lock``. The picture of the checks goes to ``run``.
    """
    _refuse_rolled_back(registry.with_digest(digest))
    models = _load_models(folder, digest, registry, champion)
    decision = decide_promotion(models.candidate.evaluation, models.references, rule)
    run.root.mkdir(parents=True, exist_ok=True)
    picture = run.promotion_picture
    plot_promotion(picture, decision, models.history, rule)
    _log(tracker, decision, models, rule, RunDir(folder.parent).evaluation, picture)
    version = registry.register(folder, digest, tracker)
    registry.describe(version, plain_summary(decision, champion))
    if decision.is_promoted:
        registry.set_champion(version, champion)
    return Promotion(candidate=version, champion=champion, decision=decision, picture=picture)


def _load_models(folder: Path, digest: str, registry: Registry, champion: Version | None) -> _EvaluatedModels:
    """Collect evaluations from the candidate's run, and from the artifacts of the champion."""
    table = RunDir(folder.parent).evaluation
    checkpoints = read_history(table) if table.is_file() else []
    candidate = _find_evaluation(
        checkpoints, digest, "", f"driveforge evaluate {folder} run_dir={folder.parent}", table
    )
    protocol = candidate.evaluation.protocol
    start = _start_digest(folder)
    if champion is None:
        command = (
            f"driveforge evaluate START run_dir={folder.parent}` with the model it was fine-tuned from, such as `base"
        )
        origin = _find_evaluation(checkpoints, start, protocol, command, table)
        return _EvaluatedModels(
            history=_run_history(checkpoints, start, candidate), candidate=candidate, champion=None, origin=origin
        )
    command = f"driveforge evaluate champion run_dir={folder.parent}"
    known = [*_read_artifact(registry, champion, table.name), *checkpoints]
    origins = _read_artifact(registry, champion, ORIGIN_FILE)
    if not origins:
        raise UserError(f"{champion} was not registered by promote: move the alias champion to a version that was")
    return _EvaluatedModels(
        history=_run_history(checkpoints, start, candidate),
        candidate=candidate,
        champion=_find_evaluation(known, champion.digest, protocol, command, table),
        origin=_find_evaluation(
            [*origins, *checkpoints], origins[0].model, protocol, command.replace("champion", "base"), table
        ),
    )


def _start_digest(folder: Path) -> str:
    """The digest of the model that a fine-tune started from: from its lineage, else the shipped base."""
    return str(read_lineage(folder).get("base") or compute_model_digest(BASE))


def _run_history(
    checkpoints: Sequence[CheckpointEvaluation], start: str, candidate: CheckpointEvaluation
) -> list[CheckpointEvaluation]:
    """The evaluations of this run: its start, its intermediate checkpoints and the candidate."""
    first = [replace(c, step=0) for c in checkpoints if c.model == start][:1]
    between = [c for c in checkpoints if c.model.startswith("step-") and c.step < candidate.step]
    return [c for c in (*first, *between, candidate) if c.evaluation.protocol == candidate.evaluation.protocol]


def _find_evaluation(
    checkpoints: Sequence[CheckpointEvaluation], model: str, protocol: str, command: str, table: Path
) -> CheckpointEvaluation:
    """The last evaluation of ``model``, under ``protocol`` unless it is "".

    Raises UserError that names the ``command`` to run if there is none.
    """
    found = [c for c in checkpoints if c.model == model]
    comparable = [c for c in found if protocol in ("", c.evaluation.protocol)]
    if not found:
        raise UserError(f"{table} holds no evaluation of the model {model}: run `{command}`")
    if not comparable:
        raise UserError(
            f"models evaluated under different protocols cannot be compared: "
            f"{model} under {found[-1].evaluation.protocol!r}, "
            f"the candidate under {protocol!r}; run `{command}`"
        )
    return comparable[-1]


def _read_artifact(registry: Registry, version: Version, name: str) -> list[CheckpointEvaluation]:
    with tempfile.TemporaryDirectory() as scratch:
        file = registry.evaluation_file(version, name, Path(scratch))
        return read_history(file) if file else []


def _refuse_rolled_back(version: Version | None) -> None:
    if version and version.rolled_back:
        raise UserError(
            f"{version} was rolled back at {version.rolled_back}; to promote it again, delete its tag "
            "driveforge.rolled_back in MLflow"
        )


def _log(
    tracker: Tracker,
    decision: PromotionDecision,
    models: _EvaluatedModels,
    rule: PromotionRule,
    table: Path,
    picture: Path,
) -> None:
    tracker.set_tags(
        {"driveforge.promoted": str(decision.is_promoted).lower(), "driveforge.model": models.candidate.model}
    )
    metrics = {
        f"regression/{check.baseline}/{comparison.domain}/{comparison.measure}": comparison.change.regression
        for check in decision.checks
        if (comparison := check.comparison).change
    }
    domains = {value.domain for value in models.candidate.evaluation.values if not rule.is_driving(value.domain)}
    for measure in rule.dynamics:
        history = [checkpoint.evaluation for checkpoint in models.history]
        metrics |= {f"{name}/{measure}": value for name, value in compute_transfer(history, measure, domains).items()}
    tracker.log_metrics({name: value for name, value in metrics.items() if abs(value) < float("inf")})
    with tempfile.TemporaryDirectory() as scratch:
        origin = models.origin
        append_evaluation(Path(scratch) / ORIGIN_FILE, origin.evaluation, step=origin.step, model=origin.model)
        record = json.dumps({"is_promoted": decision.is_promoted, "rule": asdict(rule), **asdict(decision)})
        bounded = json.loads(record, parse_constant=lambda _: None)  # JSON has no infinity
        (Path(scratch) / "promotion.json").write_text(json.dumps(bounded, indent=2) + "\n")
        for file in (table, picture, *sorted(Path(scratch).iterdir())):
            tracker.log_artifact(file)
