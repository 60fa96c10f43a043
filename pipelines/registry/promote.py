"""Promotion: a fine-tuned model becomes champion if driving improved and nothing was forgotten; else it says why."""

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
from driveforge.pipelines.registry.models import BASE, read_lineage
from driveforge.pipelines.registry.plot import plot_promotion
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, open_registry, promotion_lock
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run

# In the MLflow run of a promotion: the evaluation of the model that the first champion was tuned from.
ORIGIN_FILE = "origin.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What was decided of ``candidate``; ``champion`` is who was so before, ``picture`` shows the checks."""

    candidate: Version
    champion: Version | None
    decision: PromotionDecision
    picture: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _EvaluatedModels:
    """The evaluated models that a decision needs: ``origin`` is the one that the first champion began with."""

    history: list[CheckpointEvaluation]
    candidate: CheckpointEvaluation
    champion: CheckpointEvaluation | None
    origin: CheckpointEvaluation

    @property
    def references(self) -> dict[str, Evaluation]:
        champion = {} if self.champion is None else {"champion": self.champion.evaluation}
        return champion | {"base": self.origin.evaluation}


def main(config: Config, args: argparse.Namespace) -> int:
    """Promote or refuse; status 1 where the champion stays who it was."""
    folder = args.candidate or config.run.model
    if not (folder / "world_model.json").is_file():
        raise UserError(f"{folder} holds no world_model.json; give a model folder, or run_dir=RUN of a fine-tune")
    digest = compute_model_digest(folder)
    with promotion_lock(config.run), pipeline_run(config, "promote") as tracker:
        registry = open_registry(config)
        champion = registry.alias(CHAMPION)
        if champion and champion.digest == digest:
            print_result(f"{champion} is champion already")
            return 0
        promotion = promote(config, folder, digest, registry, champion, tracker)
    for line in decision_lines(promotion.decision, promotion.candidate, promotion.champion):
        get_console().print(line, soft_wrap=True)
    print_result(f"picture: {promotion.picture}")
    return 0 if promotion.decision.is_promoted else 1


def promote(
    config: Config, folder: Path, digest: str, registry: Registry, champion: Version | None, tracker: Tracker
) -> Promotion:
    """Judge the model in ``folder``, register it, and make it champion if it passed; under ``promotion_lock``."""
    _refuse_rolled_back(registry.with_digest(digest))
    models = _load_models(folder, digest, registry, champion)
    rule = config.promote
    decision = decide_promotion(models.candidate.evaluation, models.references, rule)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    picture = config.run.promotion_picture
    plot_promotion(picture, decision, models.history, rule)
    _log(tracker, decision, models, rule, RunDir(folder.parent).evaluation, picture)
    version = registry.register(folder, digest, tracker)
    registry.describe(version, plain_summary(decision, champion))
    if decision.is_promoted:
        registry.set_champion(version, champion)
    return Promotion(candidate=version, champion=champion, decision=decision, picture=picture)


def _load_models(folder: Path, digest: str, registry: Registry, champion: Version | None) -> _EvaluatedModels:
    """What the evaluation of the candidate's run, and that kept with the champion, know of the models."""
    table = RunDir(folder.parent).evaluation
    stages = read_history(table) if table.is_file() else []
    candidate = _find_evaluation(stages, digest, "", f"driveforge evaluate {folder} run_dir={folder.parent}", table)
    protocol = candidate.evaluation.protocol
    start = _start_digest(folder)
    if champion is None:
        command = f"driveforge evaluate START run_dir={folder.parent}` with what it was tuned from, such as `base"
        origin = _find_evaluation(stages, start, protocol, command, table)
        return _EvaluatedModels(
            history=_run_history(stages, start, candidate), candidate=candidate, champion=None, origin=origin
        )
    command = f"driveforge evaluate champion run_dir={folder.parent}"
    kept = [*_read_artifact(registry, champion, table.name), *stages]
    origins = _read_artifact(registry, champion, ORIGIN_FILE)
    if not origins:
        raise UserError(f"{champion} was not registered by promote: move the alias champion to a version that was")
    return _EvaluatedModels(
        history=_run_history(stages, start, candidate),
        candidate=candidate,
        champion=_find_evaluation(kept, champion.digest, protocol, command, table),
        origin=_find_evaluation(
            [*origins, *stages], origins[0].model, protocol, command.replace("champion", "base"), table
        ),
    )


def _start_digest(folder: Path) -> str:
    """The digest of the model that a fine-tune began with, as its lineage has it; without one, the shipped base."""
    return str(read_lineage(folder).get("base") or compute_model_digest(BASE))


def _run_history(
    stages: Sequence[CheckpointEvaluation], start: str, candidate: CheckpointEvaluation
) -> list[CheckpointEvaluation]:
    """What was evaluated of this run alone: its start, its steps, its end."""
    begun = [replace(stage, step=0) for stage in stages if stage.model == start][:1]
    between = [stage for stage in stages if stage.model.startswith("step-") and stage.step < candidate.step]
    return [
        stage for stage in (*begun, *between, candidate) if stage.evaluation.protocol == candidate.evaluation.protocol
    ]


def _find_evaluation(
    stages: Sequence[CheckpointEvaluation], model: str, protocol: str, command: str, table: Path
) -> CheckpointEvaluation:
    """The last stage that is of the model, under the protocol if it is given; else a UserError says how to get it."""
    found = [stage for stage in stages if stage.model == model]
    comparable = [stage for stage in found if protocol in ("", stage.evaluation.protocol)]
    if not found:
        raise UserError(f"{table} knows nothing of the model {model}: run `{command}`")
    if not comparable:
        raise UserError(
            f"models that were evaluated in different ways cannot be compared: "
            f"{model} by {found[-1].evaluation.protocol!r}, "
            f"the candidate by {protocol!r}; run `{command}`"
        )
    return comparable[-1]


def _read_artifact(registry: Registry, version: Version, name: str) -> list[CheckpointEvaluation]:
    with tempfile.TemporaryDirectory() as scratch:
        file = registry.evaluation_file(version, name, Path(scratch))
        return read_history(file) if file else []


def _refuse_rolled_back(version: Version | None) -> None:
    if version and version.rolled_back:
        raise UserError(
            f"{version} was rolled back at {version.rolled_back} and is not promoted again; "
            "take its tag driveforge.rolled_back away in MLflow if it should be"
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
        history = [stage.evaluation for stage in models.history]
        metrics |= {f"{name}/{measure}": value for name, value in compute_transfer(history, measure, domains).items()}
    tracker.log_metrics({name: value for name, value in metrics.items() if abs(value) < float("inf")})
    with tempfile.TemporaryDirectory() as scratch:
        origin = models.origin
        append_evaluation(Path(scratch) / ORIGIN_FILE, origin.evaluation, step=origin.step, model=origin.model)
        record = json.dumps({"is_promoted": decision.is_promoted, "rule": asdict(rule), **asdict(decision)})
        bounded = json.loads(record, parse_constant=lambda _: None)  # JSON knows no infinity
        (Path(scratch) / "promotion.json").write_text(json.dumps(bounded, indent=2) + "\n")
        for file in (table, picture, *sorted(Path(scratch).iterdir())):
            tracker.log_artifact(file)
