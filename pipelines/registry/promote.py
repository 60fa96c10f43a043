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
from driveforge.pipelines.console import show
from driveforge.pipelines.registry.messages import lines_of, summary_of
from driveforge.pipelines.registry.models import BASE, lineage_in
from driveforge.pipelines.registry.plot import draw
from driveforge.pipelines.registry.versions import CHAMPION, Registry, Version, registry_of, sole_promoter
from driveforge.pipelines.run_dir import RunDir
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run

# In the MLflow run of a promotion: the evaluation of the model that the first champion was tuned from.
ORIGIN = "origin.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What was decided of ``candidate``; ``champion`` is who was so before, ``picture`` shows the checks."""

    candidate: Version
    champion: Version | None
    decision: PromotionDecision
    picture: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """The probed models that a decision needs: ``origin`` is the one that the first champion began with."""

    history: list[CheckpointEvaluation]
    candidate: CheckpointEvaluation
    champion: CheckpointEvaluation | None
    origin: CheckpointEvaluation

    @property
    def earlier(self) -> dict[str, Evaluation]:
        champion = {} if self.champion is None else {"champion": self.champion.evaluation}
        return champion | {"base": self.origin.evaluation}


def main(config: Config, args: argparse.Namespace) -> int:
    """Promote or refuse; status 1 where the champion stays who it was."""
    folder = args.candidate or config.run.model
    if not (folder / "world_model.json").is_file():
        raise UserError(f"{folder} holds no world_model.json; give a model folder, or run_dir=RUN of a fine-tune")
    digest = compute_model_digest(folder)
    with sole_promoter(config.run), pipeline_run(config, "promote") as tracker:
        registry = registry_of(config)
        champion = registry.alias(CHAMPION)
        if champion and champion.digest == digest:
            show(f"{champion} is champion already")
            return 0
        promotion = promote(config, folder, digest, registry, champion, tracker)
    for line in lines_of(promotion.decision, promotion.candidate, promotion.champion):
        get_console().print(line, soft_wrap=True)
    show(f"picture: {promotion.picture}")
    return 0 if promotion.decision.is_promoted else 1


def promote(
    config: Config, folder: Path, digest: str, registry: Registry, champion: Version | None, tracker: Tracker
) -> Promotion:
    """Judge the model in ``folder``, register it, and make it champion if it passed; under ``sole_promoter``."""
    _refuse_rolled_back(registry.with_digest(digest))
    known = _known(folder, digest, registry, champion)
    rule = config.promote
    decision = decide_promotion(known.candidate.evaluation, known.earlier, rule)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    picture = config.run.promotion_picture
    draw(picture, decision, known.history, rule)
    _log(tracker, decision, known, rule, RunDir(folder.parent).evaluation, picture)
    version = registry.register(folder, digest, tracker)
    registry.describe(version, summary_of(decision, champion))
    if decision.is_promoted:
        registry.crown(version, champion)
    return Promotion(candidate=version, champion=champion, decision=decision, picture=picture)


def _known(folder: Path, digest: str, registry: Registry, champion: Version | None) -> _Known:
    """What the probe of the candidate's run, and that kept with the champion, know of the models."""
    table = RunDir(folder.parent).evaluation
    stages = read_history(table) if table.is_file() else []
    candidate = _probed(stages, digest, "", f"driveforge probe {folder} run_dir={folder.parent}", table)
    protocol = candidate.evaluation.protocol
    start = _start_of(folder)
    if champion is None:
        command = f"driveforge probe START run_dir={folder.parent}` with what it was tuned from, such as `base"
        origin = _probed(stages, start, protocol, command, table)
        return _Known(history=_course(stages, start, candidate), candidate=candidate, champion=None, origin=origin)
    command = f"driveforge probe champion run_dir={folder.parent}"
    kept = [*_kept(registry, champion, table.name), *stages]
    origins = _kept(registry, champion, ORIGIN)
    if not origins:
        raise UserError(f"{champion} was not registered by promote: move the alias champion to a version that was")
    return _Known(
        history=_course(stages, start, candidate),
        candidate=candidate,
        champion=_probed(kept, champion.digest, protocol, command, table),
        origin=_probed([*origins, *stages], origins[0].model, protocol, command.replace("champion", "base"), table),
    )


def _start_of(folder: Path) -> str:
    """The digest of the model that a fine-tune began with, as its lineage has it; without one, the shipped base."""
    return str(lineage_in(folder).get("base") or compute_model_digest(BASE))


def _course(
    stages: Sequence[CheckpointEvaluation], start: str, candidate: CheckpointEvaluation
) -> list[CheckpointEvaluation]:
    """What was probed of this run alone: its start, its steps, its end."""
    begun = [replace(stage, step=0) for stage in stages if stage.model == start][:1]
    between = [stage for stage in stages if stage.model.startswith("step-") and stage.step < candidate.step]
    return [
        stage for stage in (*begun, *between, candidate) if stage.evaluation.protocol == candidate.evaluation.protocol
    ]


def _probed(
    stages: Sequence[CheckpointEvaluation], model: str, protocol: str, command: str, table: Path
) -> CheckpointEvaluation:
    """The last stage that is of the model, under the protocol if it is given; else a UserError says how to get it."""
    found = [stage for stage in stages if stage.model == model]
    like = [stage for stage in found if protocol in ("", stage.evaluation.protocol)]
    if not found:
        raise UserError(f"{table} knows nothing of the model {model}: run `{command}`")
    if not like:
        raise UserError(
            f"models that were probed in different ways cannot be compared: {model} by {found[-1].evaluation.protocol!r}, "
            f"the candidate by {protocol!r}; run `{command}`"
        )
    return like[-1]


def _kept(registry: Registry, version: Version, name: str) -> list[CheckpointEvaluation]:
    with tempfile.TemporaryDirectory() as scratch:
        file = registry.probe_file(version, name, Path(scratch))
        return read_history(file) if file else []


def _refuse_rolled_back(version: Version | None) -> None:
    if version and version.rolled_back:
        raise UserError(
            f"{version} was rolled back at {version.rolled_back} and is not promoted again; "
            "take its tag driveforge.rolled_back away in MLflow if it should be"
        )


def _log(
    tracker: Tracker, decision: PromotionDecision, known: _Known, rule: PromotionRule, table: Path, picture: Path
) -> None:
    tracker.tags({"driveforge.promoted": str(decision.is_promoted).lower(), "driveforge.model": known.candidate.model})
    metrics = {
        f"regression/{check.baseline}/{check.comparison.domain}/{check.comparison.measure}": check.comparison.change.regression
        for check in decision.checks
        if check.comparison.change
    }
    domains = {value.domain for value in known.candidate.evaluation.values if not rule.is_driving(value.domain)}
    for measure in rule.dynamics:
        history = [stage.evaluation for stage in known.history]
        metrics |= {f"{name}/{measure}": value for name, value in compute_transfer(history, measure, domains).items()}
    tracker.metrics({name: value for name, value in metrics.items() if abs(value) < float("inf")})
    with tempfile.TemporaryDirectory() as scratch:
        origin = known.origin
        append_evaluation(Path(scratch) / ORIGIN, origin.evaluation, step=origin.step, model=origin.model)
        told = json.dumps({"is_promoted": decision.is_promoted, "rule": asdict(rule), **asdict(decision)})
        bounded = json.loads(told, parse_constant=lambda _: None)  # JSON knows no infinity
        (Path(scratch) / "promotion.json").write_text(json.dumps(bounded, indent=2) + "\n")
        for file in (table, picture, *sorted(Path(scratch).iterdir())):
            tracker.artifact(file)
