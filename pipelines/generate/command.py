"""The generate stage: generate and measure candidates, committed unit by unit to ``<run_dir>/candidates``."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.scene import Scene
from driveforge.datasets.stores.opening import open_store, share
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_message, print_result
from driveforge.pipelines.generate.commit import QUARANTINE_FOLDER, CommitLog
from driveforge.pipelines.generate.executors.execution import require_executor
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.generator import GeneratorLoader
from driveforge.pipelines.generate.requests import FIRST_FRAMES_FOLDER, plan_requests, store_first_frames
from driveforge.pipelines.generate.select import (
    generator_digest,
    load_selected,
    prepare_captions,
    require_generable,
    select_generator,
)
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.source_frames import SourceFrames
from driveforge.pipelines.generate.unit_runs import commit_units
from driveforge.pipelines.generate.units import PLAN_FILE, GenerationPlan, open_or_create_plan
from driveforge.pipelines.generate.worker import GenerationWorker
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import generation_indices, open_source
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.validation.instruments import Instruments

# Failed units whose errors are printed; all are in their quarantine records.
_MAX_PRINTED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """``num_made`` clips of this call, ``num_committed`` of the plan in total.

    ``failed`` maps units to the last lines of their errors; ``exceeds_budget`` if they are more than may fail.
    """

    plan: str
    num_made: int
    num_committed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)
    exceeds_budget: bool = False


def main(config: Config, args: argparse.Namespace) -> int:
    """Plan, generate and commit; exit status 1 if more units failed than the failure budget allows."""
    require_executor(config.executor)  # before imports that take seconds
    with pipeline_run(config, "generation") as tracker:
        summary = generate_candidates(config)
        log_generation(summary, tracker)
    print_result(f"{summary.num_committed} candidates in {config.run.candidates}, {summary.num_made} of them new")
    print_failures(summary, config.run.candidates)
    return 1 if summary.exceeds_budget else 0


def print_failures(summary: GenerationSummary, candidates: Path) -> None:
    """Print the failed units, and how to try them again."""
    for unit, error in list(summary.failed.items())[:_MAX_PRINTED]:
        print_result(error, prefix=f"{unit} failed: ", style="red")
    if summary.failed:
        where = open_store(candidates).describe(QUARANTINE_FOLDER)
        budget = "more" if summary.exceeds_budget else "not more"
        print_result(
            f"{len(summary.failed)} units failed, {budget} than executor.failure_budget; requests and tracebacks are "
            f"in {where}; run the same command again to try them again"
        )


def log_generation(summary: GenerationSummary, tracker: Tracker) -> None:
    tracker.log_metrics(
        {"clips": summary.num_committed, "seconds": summary.seconds, "failed_units": len(summary.failed)}
    )


def generate_candidates(config: Config) -> GenerationSummary:
    """Generate all candidates of ``config`` with its own generator, else the run's model, else the checkpoint."""
    selected, root = select_generator(config), config.run.candidates
    instruments = partial(load_instruments, config.validate)
    instruments()  # fails early if something is missing
    recorded = open_recorded(config.data, root, config.generate)
    require_generable(selected, recorded.scenes, config.generate)
    requests = plan_requests(recorded.scenes, recorded.store, config.generate, generator_digest(selected))
    store = open_store(root)
    store.fetch(PLAN_FILE, again=True)
    plan = open_or_create_plan(root, requests, config.generate.clips_per_unit)
    if not share(store, PLAN_FILE):
        raise UserError(f"{store.describe(PLAN_FILE)} was created meanwhile with other settings: use another run_dir")
    prepare_captions(selected, (request.scene.caption for request in requests))
    return generate(root, plan, partial(load_selected, selected), config.executor, instruments)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """The scenes to generate from, and ``store``, which stores the first frames of one and returns their name."""

    scenes: Sequence[Scene]
    store: Callable[[Scene], str]


def open_recorded(data: Data, root: Path, settings: GenerateSettings) -> Recorded:
    """The scenes of ``data`` to generate from; their first frames are stored under ``root``, once for each scene."""
    source, names = open_source(data), dict[str, str]()
    source_frames, candidates = SourceFrames(root), open_store(root)

    def store(scene: Scene) -> str:
        if scene.clip_id not in names:
            frames = source.load(scene).frames
            source_frames.add(scene, frames)
            name = store_first_frames(root / FIRST_FRAMES_FOLDER, frames[:, : settings.num_first_frames])
            share(candidates, f"{FIRST_FRAMES_FOLDER}/{name}")
            names[scene.clip_id] = name
        return names[scene.clip_id]

    scenes = source.scenes()
    chosen = [scenes[number] for number in generation_indices(scenes, settings.source_split)]
    splits = ", ".join(sorted({scene.split or "none" for scene in chosen}))
    print_message(f"generating from {len(chosen)} of {len(scenes)} scenes (split: {splits})")
    return Recorded(scenes=chosen, store=store)


def generate(
    root: Path,
    plan: GenerationPlan,
    loader: GeneratorLoader,
    executor: ExecutorSettings,
    instruments: InstrumentsLoader = Instruments,
) -> GenerationSummary:
    """Generate every unit of ``plan`` that is not committed under ``root`` yet; quarantine units that keep failing.

    ``loader`` and ``instruments`` run once in each worker; for Ray they must be picklable by reference, like a
    ``partial`` of a function.
    """
    store, start = open_store(root), time.monotonic()
    results = commit_units(store, plan.units, partial(GenerationWorker, loader, store, instruments), executor)
    committed = frozenset(CommitLog(store).committed_units())
    return GenerationSummary(
        plan=plan.id,
        num_made=results.num_made,
        num_committed=sum(len(unit.requests) for unit in plan.units if unit.id in committed),
        seconds=time.monotonic() - start,
        failed=results.failed,
        exceeds_budget=results.exceeds_budget,
    )
