"""The runs of the forgetting study: each fine-tunes the base of its seed and is judged once, by the same probe."""

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

from driveforge.datasets.errors import UserError
from driveforge.datasets.files.atomic_folder import atomic_folder, create_scratch, is_absent_or_empty, remove_scratch
from driveforge.datasets.latents.cache import LatentCache
from driveforge.datasets.progress import track
from driveforge.finetune.evaluation.clips import ProbeSet
from driveforge.finetune.evaluation.evaluate import frozen, measured_as_if, probe
from driveforge.finetune.evaluation.loss_forgetting import loss_forgetting
from driveforge.finetune.evaluation.results import Probed, append_probed, read_probed
from driveforge.finetune.strategies.interpolation import POINTS, best_point, interpolated
from driveforge.finetune.training.fine_tune import fine_tune
from driveforge.finetune.world_model.model import OTHER_DOMAINS, WorldModel
from driveforge.pipelines.processes.parallel import on_all_cores
from driveforge.pipelines.studies.forgetting.variants import BASE, INTERPOLATE, STILL, Run, runs_of
from driveforge.pipelines.studies.forgetting.workspace import CHOICE, DRIVING, JUDGE, Ground, make_base
from driveforge.replay.buffer import ReplayBuffer

# Notes of what is not trained here.
_IDLE = {"replayed": 0.0, "seconds": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one run: its judged values, the replay samples in all samples, and what else it tells."""

    variant: str
    seed: int
    probed: Probed
    replayed: float
    seconds: float
    notes: Mapping[str, Any]


def run_all(ground: Ground) -> list[Outcome]:
    """Everything that is not there yet, on all cores; then what all of it came to.

    A UserError where runs of an earlier call were judged in another way.
    """
    driving, others = ground.driving(), ground.others()
    ground.buffer(others)
    seeds, runs = range(ground.study.seeds), list(runs_of(ground.study))
    prepared = (ground, driving.key, others.key)
    # Their clips are encoded on all cores before each worker opens them.
    ground.judge_set(), ground.choice_set()
    bare = [seed for seed in seeds if not _folder(ground, f"{BASE}-{seed}").is_dir()]
    missing = [run for run in runs if not _folder(ground, run.name).is_dir()]
    for _ in track(on_all_cores(_base_of, bare, _start, prepared), "Training bases", len(bare), disable=not bare):
        pass
    for _ in track(on_all_cores(_make, missing, _start, prepared), "Fine-tuning", len(missing), disable=not missing):
        pass
    outcomes = [
        _outcome(ground, STILL, 0, STILL),
        *(_outcome(ground, BASE, seed, f"{BASE}-{seed}") for seed in seeds),
        *(_outcome(ground, run.variant.name, run.seed, run.name) for run in runs),
    ]
    if len({outcome.probed.protocol for outcome in outcomes}) > 1:
        raise UserError(
            f"{ground.root / 'runs'} holds runs that were judged in different ways: delete it and run again"
        )
    return outcomes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Worker:
    ground: Ground
    driving: LatentCache
    others: LatentCache
    buffer: ReplayBuffer
    judge_set: ProbeSet
    choice_set: ProbeSet


_worker: _Worker


def _start(ground: Ground, driving: str, others: str) -> None:
    """Caches are opened by their keys: to list simulated clips takes longer than to train on them for a while."""
    global _worker
    # The parent shows how far all runs are.
    get_console().quiet = True
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cached = LatentCache(ground.latents, others)
    _worker = _Worker(
        ground=ground,
        driving=LatentCache(ground.latents, driving),
        others=cached,
        buffer=ground.buffer(cached),
        judge_set=ground.judge_set(),
        choice_set=ground.choice_set(),
    )


def _base_of(seed: int) -> None:
    ground, name = _worker.ground, f"{BASE}-{seed}"
    if seed == 0 and not _folder(ground, STILL).is_dir():
        _keep(STILL, measured_as_if(_worker.judge_set, JUDGE, partial(frozen, context=JUDGE.context)), _IDLE)
    base = make_base(ground, _worker.others, seed)
    if not _folder(ground, name).is_dir():
        _keep(name, _judged(WorldModel.from_pretrained(base)), _IDLE)


def _make(run: Run) -> None:
    ground = _worker.ground
    base, began = ground.base(run.seed), time.monotonic()
    settings, mix = run.variant.settings(ground.study, run.seed), run.variant.mix(ground.study, run.seed)
    scratch = ground.root / "scratch" / run.name
    if is_absent_or_empty(scratch):
        create_scratch(scratch)
    start = WorldModel.from_pretrained(base)
    adapts = run.variant.schedule == "adaptive"
    forgotten = loss_forgetting(start, _worker.choice_set, CHOICE, OTHER_DOMAINS) if adapts else None
    tuned = fine_tune(base, _worker.driving, _worker.buffer, settings, mix, scratch, probe=forgotten)
    model = tuned.model.eval()
    notes: dict[str, Any] = {"decisions": tuned.decisions}
    if run.variant.strategy == INTERPOLATE:
        model, notes["alpha"] = _best_mixture(start, model)
    total = sum(tuned.realised.values())
    replayed = sum(count for pool, count in tuned.realised.items() if pool != "driving") / total
    _keep(run.name, _judged(model), {**notes, "replayed": replayed, "seconds": time.monotonic() - began})
    remove_scratch(scratch)


def _best_mixture(base: WorldModel, tuned: WorldModel) -> tuple[WorldModel, float]:
    """Driving and the mean of the other domains count alike, each as a share of the base's loss."""
    above_base = loss_forgetting(base, _worker.choice_set, CHOICE, (DRIVING, *OTHER_DOMAINS))

    def score(alpha: float) -> float:
        losses = above_base(interpolated(base, tuned, alpha).eval())
        return -losses[DRIVING] - float(np.mean([losses[domain] for domain in OTHER_DOMAINS]))

    alpha, _ = best_point(POINTS, score)
    return interpolated(base, tuned, alpha).eval(), alpha


def _judged(model: WorldModel) -> Probed:
    return probe(model, _worker.judge_set, JUDGE)


def _keep(name: str, probed: Probed, notes: Mapping[str, Any]) -> None:
    """The judged values of a run and notes on it: there whole, or not at all."""
    with atomic_folder(_folder(_worker.ground, name)) as scratch:
        append_probed(scratch / "probe.parquet", probed, step=0, model=name)
        (scratch / "notes.json").write_text(json.dumps(notes))


def _folder(ground: Ground, name: str) -> Path:
    return ground.root / "runs" / name


def _outcome(ground: Ground, variant: str, seed: int, name: str) -> Outcome:
    folder = _folder(ground, name)
    notes = json.loads((folder / "notes.json").read_text())
    (probed,) = read_probed(folder / "probe.parquet").values()
    return Outcome(
        variant=variant,
        seed=seed,
        probed=probed,
        replayed=notes.pop("replayed"),
        seconds=notes.pop("seconds"),
        notes=notes,
    )


def raw_table(outcomes: Sequence[Outcome], path: Path) -> None:
    """All judged values of all runs as one parquet, so that everything can be reckoned again."""
    path.unlink(missing_ok=True)
    for outcome in outcomes:
        append_probed(path, outcome.probed, step=outcome.seed, model=outcome.variant)
