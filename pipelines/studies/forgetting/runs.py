"""The runs of the forgetting study: each fine-tunes the base of its seed and is evaluated once, on the same clips."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import get_console

from driveforge.datasets.domains import DRIVING as DRIVING_POOL
from driveforge.datasets.domains import OTHER_DOMAINS
from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import atomic_folder, create_scratch, is_absent_or_empty, remove_scratch
from driveforge.datasets.latents.cache import LatentCache
from driveforge.datasets.progress import track
from driveforge.finetune.evaluation.clips import EvaluationSet
from driveforge.finetune.evaluation.evaluate import evaluate, evaluate_frames, repeat_last_frame
from driveforge.finetune.evaluation.loss_forgetting import make_loss_forgetting_metric
from driveforge.finetune.evaluation.results import Evaluation, append_evaluation, read_evaluations
from driveforge.finetune.strategies.interpolation import ALPHAS, find_best_alpha, interpolate_weights
from driveforge.finetune.training.fine_tune import fine_tune
from driveforge.finetune.world_model.families.registry import load_world_model
from driveforge.finetune.world_model.model import WorldModel
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.forgetting.variants import BASE, INTERPOLATE, STILL, StudyRun, plan_runs
from driveforge.pipelines.studies.forgetting.workspace import (
    DRIVING,
    VALIDATION_EVALUATION,
    StudyWorkspace,
    make_base,
)
from driveforge.replay.buffer import ReplayBuffer

# Notes of results without a fine-tune.
_NO_TRAINING = {"replayed": 0.0, "seconds": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """The result of one run: its evaluation, the share of replay samples, and further notes."""

    variant: str
    seed: int
    evaluation: Evaluation
    replay_share: float
    seconds: float
    notes: Mapping[str, Any]


def run_all(workspace: StudyWorkspace) -> list[RunResult]:
    """Do all missing runs on all cores; returns the results of all runs.

    Raises UserError if runs of an earlier call were evaluated under another protocol.
    """
    seeds, runs = range(workspace.study.num_seeds), list(plan_runs(workspace.study))
    driving_keys, others = [workspace.driving(seed).key for seed in seeds], workspace.others()
    workspace.buffer(others)
    prepared = (workspace, driving_keys, others.key)
    _encode_evaluation_clips(workspace)
    base_names = {seed: f"{BASE}-{workspace.base_seed(seed)}" for seed in seeds}
    missing_bases = [
        seed
        for seed, name in base_names.items()
        if workspace.base_seed(seed) == seed and not _run_folder(workspace, name).is_dir()
    ]
    missing = [run for run in runs if not _run_folder(workspace, run.name).is_dir()]
    for _ in track(
        parallel_map(_train_base, missing_bases, _start_worker, prepared),
        "Training bases",
        len(missing_bases),
        disable=not missing_bases,
    ):
        pass
    for _ in track(
        parallel_map(_run_fine_tune, missing, _start_worker, prepared), "Fine-tuning", len(missing), disable=not missing
    ):
        pass
    run_results = [
        _load_result(workspace, STILL, 0, STILL),
        *(_load_result(workspace, BASE, seed, name) for seed, name in base_names.items()),
        *(_load_result(workspace, run.variant.name, run.seed, run.name) for run in runs),
    ]
    if len({run_result.evaluation.protocol for run_result in run_results}) > 1:
        raise UserError(
            f"{workspace.root / 'runs'} holds runs with different evaluation protocols: delete it and run again"
        )
    return run_results


def _encode_evaluation_clips(workspace: StudyWorkspace) -> None:
    """Encode on all cores, before the workers, which have one core each, open the clips."""
    workspace.test_set()
    workspace.validation_set()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _StudyWorker:
    """The state of a worker process; ``driving`` has the training clips of every seed."""

    workspace: StudyWorkspace
    driving: tuple[LatentCache, ...]
    others: LatentCache
    buffer: ReplayBuffer
    test_set: EvaluationSet
    validation_set: EvaluationSet


_worker: _StudyWorker


def _start_worker(workspace: StudyWorkspace, driving: Sequence[str], others: str) -> None:
    """Opens caches by their keys, since listing simulated clips takes long."""
    global _worker
    # Only the parent shows progress.
    get_console().quiet = True
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cached = LatentCache(workspace.latents, others)
    _worker = _StudyWorker(
        workspace=workspace,
        driving=tuple(LatentCache(workspace.latents, key) for key in driving),
        others=cached,
        buffer=workspace.buffer(cached),
        test_set=workspace.test_set(),
        validation_set=workspace.validation_set(),
    )


def _train_base(seed: int) -> None:
    workspace, name = _worker.workspace, f"{BASE}-{seed}"
    if seed == 0 and not _run_folder(workspace, STILL).is_dir():
        _save_result(
            STILL,
            evaluate_frames(
                _worker.test_set,
                workspace.test_evaluation,
                partial(repeat_last_frame, context_frames=workspace.test_evaluation.context_frames),
            ),
            _NO_TRAINING,
        )
    base = make_base(workspace, _worker.others, seed)
    if not _run_folder(workspace, name).is_dir():
        _save_result(name, _evaluate(load_world_model(base)), _NO_TRAINING)


def _run_fine_tune(run: StudyRun) -> None:
    workspace = _worker.workspace
    base, start_time = workspace.base(run.seed), time.monotonic()
    settings, mix = run.variant.settings(workspace.study, run.seed), run.variant.mix(workspace.study, run.seed)
    scratch = workspace.root / "scratch" / run.name
    if is_absent_or_empty(scratch):
        create_scratch(scratch)
    start = load_world_model(base)
    is_adaptive = run.variant.schedule == "adaptive"
    forgetting_metric = (
        make_loss_forgetting_metric(start, _worker.validation_set, VALIDATION_EVALUATION, OTHER_DOMAINS)
        if is_adaptive
        else None
    )
    tuned = fine_tune(
        base, _worker.driving[run.seed], _worker.buffer, settings, mix, scratch, forgetting_metric=forgetting_metric
    )
    model = tuned.model.eval()
    notes: dict[str, Any] = {"decisions": tuned.decisions}
    if run.variant.strategy == INTERPOLATE:
        model, notes["alpha"] = _find_best_interpolation(start, model)
    total = sum(tuned.sample_counts.values())
    replay_share = sum(count for pool, count in tuned.sample_counts.items() if pool != DRIVING_POOL) / total
    _save_result(
        run.name, _evaluate(model), {**notes, "replayed": replay_share, "seconds": time.monotonic() - start_time}
    )
    remove_scratch(scratch)


def _find_best_interpolation(base: WorldModel, tuned: WorldModel) -> tuple[WorldModel, float]:
    """Choose the weight by validation losses relative to the base: driving and the mean of the others count equally."""
    loss_increase = make_loss_forgetting_metric(
        base, _worker.validation_set, VALIDATION_EVALUATION, (DRIVING, *OTHER_DOMAINS)
    )

    def score(alpha: float) -> float:
        losses = loss_increase(interpolate_weights(base, tuned, alpha).eval())
        return -losses[DRIVING] - float(np.mean([losses[domain] for domain in OTHER_DOMAINS]))

    alpha, _ = find_best_alpha(ALPHAS, score)
    return interpolate_weights(base, tuned, alpha).eval(), alpha


def _evaluate(model: WorldModel) -> Evaluation:
    return evaluate(model, _worker.test_set, _worker.workspace.test_evaluation)


def _save_result(name: str, evaluation: Evaluation, notes: Mapping[str, Any]) -> None:
    """Save the evaluation and notes of a run atomically."""
    with atomic_folder(_run_folder(_worker.workspace, name)) as scratch:
        append_evaluation(scratch / "evaluation.parquet", evaluation, step=0, model=name)
        (scratch / "notes.json").write_text(json.dumps(notes))


def _run_folder(workspace: StudyWorkspace, name: str) -> Path:
    return workspace.root / "runs" / name


def _load_result(workspace: StudyWorkspace, variant: str, seed: int, name: str) -> RunResult:
    folder = _run_folder(workspace, name)
    notes = json.loads((folder / "notes.json").read_text())
    (evaluation,) = read_evaluations(folder / "evaluation.parquet").values()
    return RunResult(
        variant=variant,
        seed=seed,
        evaluation=evaluation,
        replay_share=notes.pop("replayed"),
        seconds=notes.pop("seconds"),
        notes=notes,
    )


def write_raw_table(run_results: Sequence[RunResult], path: Path) -> None:
    """Write the evaluations of all runs as one parquet table."""
    path.unlink(missing_ok=True)
    for run_result in run_results:
        append_evaluation(path, run_result.evaluation, step=run_result.seed, model=run_result.variant)
