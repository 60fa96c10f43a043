"""The generate stage: generate and measure candidates, committed unit by unit to ``<run_dir>/candidates``."""

import argparse
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import show_progress, track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_from_members, clip_members, dump_json, extend_metadata
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.finetune.world_model.limits import ClipLimits, require_encodable
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.commit import CommitLog, remove_scratch, remove_unreferenced
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import require_executor, run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.generator import GeneratorLoader, load_generator
from driveforge.pipelines.generate.requests import Request, load_first_frames, plan_requests, store_first_frames
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import GenerationPlan, WorkUnit, open_or_create_plan
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import generation_indices, open_source
from driveforge.pipelines.registry.models import resolve_model
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.measures import measure

# Folder of the plan's first frames, in files named after their content.
FIRST_FRAMES_FOLDER = "first_frames"
# Wan's VAE encodes the first frame separately and the others in chunks of four, so one frame is the minimum.
NUM_FIRST_FRAMES = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """``num_made`` clips of this call, ``num_committed`` of the plan in total; ``failed`` maps units to errors."""

    plan: str
    num_made: int
    num_committed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)


def main(config: Config, args: argparse.Namespace) -> int:
    """Plan, generate and commit; exit status 1 if a unit failed."""
    require_executor(config.executor)  # before imports that take seconds
    with pipeline_run(config, "generation") as tracker:
        summary = generate_candidates(config)
        log_generation(summary, tracker)
    print_result(f"{summary.num_committed} candidates in {config.run.candidates}, {summary.num_made} of them new")
    for unit, error in summary.failed.items():
        print_result(error.strip().splitlines()[-1], prefix=f"{unit} failed: ", style="red")
    return 1 if summary.failed else 0


def log_generation(summary: GenerationSummary, tracker: Tracker) -> None:
    tracker.log_metrics(
        {"clips": summary.num_committed, "seconds": summary.seconds, "failed_units": len(summary.failed)}
    )


def generate_candidates(config: Config) -> GenerationSummary:
    """Generate all candidates of ``config`` with the run's fine-tuned model, or else the configured checkpoint."""
    from driveforge.finetune.world_model.families.registry import TEXT_STORE, embed_captions, read_limits
    from driveforge.finetune.world_model.model import compute_model_digest

    folder, root = resolve_model(config), config.run.candidates
    instruments = partial(load_instruments, config.validate)
    instruments()  # fails early if something is missing
    plan = plan_candidates(root, config.data, config.generate, compute_model_digest(folder), read_limits(folder))
    dtype, text_store = config.model.dtype, config.run.latents / TEXT_STORE
    captions = (request.scene.caption for unit in plan.units for request in unit.requests)
    embed_captions(folder, captions, dtype, text_store)
    return generate(root, plan, partial(load_generator, folder, dtype, text_store), config.executor, instruments)


def plan_candidates(
    root: Path, data: Data, settings: GenerateSettings, model: str, limits: ClipLimits
) -> GenerationPlan:
    """The plan in ``root``: clips from the held-out scenes of ``data``, by the model with the digest ``model``."""
    source = open_source(data)

    def store(scene: Scene) -> str:
        return store_first_frames(root / FIRST_FRAMES_FOLDER, source.load(scene).frames[:, :NUM_FIRST_FRAMES])

    all_scenes = source.scenes()
    scenes = [all_scenes[number] for number in generation_indices(all_scenes)]
    require_encodable(scenes, limits)
    requests = plan_requests(scenes, store, settings, model)
    return open_or_create_plan(root, requests, settings.clips_per_unit)


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
    log, start = CommitLog(root), time.monotonic()
    invalidate_damaged(log, plan.units)
    remove_unreferenced(root)
    made, failed = 0, {}
    try:
        for outcome in _outcomes(plan, log, partial(GenerationWorker, loader, root, instruments), executor):
            if outcome.error:
                log.quarantine(outcome.unit, outcome.error)
                failed[outcome.unit] = outcome.error
            else:
                made += outcome.record["clips"]
    finally:
        remove_scratch(root)
    committed = sum(len(unit.requests) for unit in plan.units if log.is_committed(unit.id))
    return GenerationSummary(
        plan=plan.id, num_made=made, num_committed=committed, seconds=time.monotonic() - start, failed=failed
    )


def invalidate_damaged(log: CommitLog, units: Sequence[WorkUnit]) -> None:
    """Remove the markers of units whose tars are damaged, so that they are generated again; prints each."""
    committed = [unit for unit in units if log.is_committed(unit.id)]
    for unit in track(committed, "Checking committed units", disable=not committed):
        try:
            keys = tuple(log.read_verified(log.read_marker(unit.id)))
            if keys != tuple(request.scene.clip_id for request in unit.requests):
                raise UserError("its clips are not those of the plan")
        except UserError as damage:
            print_result(damage, prefix=f"{unit.id} is generated again: ", style="yellow")
            log.invalidate(unit.id)


def _outcomes(
    plan: GenerationPlan, log: CommitLog, factory: Callable[[], "GenerationWorker"], executor: ExecutorSettings
) -> Iterator[UnitOutcome]:
    """The outcomes of the uncommitted units, with a progress bar of clips."""
    pending, attempts = [unit for unit in plan.units if not log.is_committed(unit.id)], AttemptLog(log.root)
    for unit in plan.units:
        if log.is_committed(unit.id):
            attempts.clear(unit.id)  # left over if a run was killed between commit and clear
    sizes = {unit.id: len(unit.requests) for unit in plan.units}
    total, num_pending = sum(sizes.values()), sum(sizes[unit.id] for unit in pending)
    columns = (TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TextColumn("clips,"), TimeRemainingColumn())
    with show_progress(Progress(*columns, disable=not pending)) as progress:
        bar = progress.add_task("", total=total, completed=total - num_pending)
        for outcome in run_units(pending, factory, executor, attempts):
            progress.advance(bar, sizes[outcome.unit])
            yield outcome


class GenerationWorker:
    """A worker with one generator; turns each unit into one committed tar."""

    def __init__(self, loader: GeneratorLoader, root: Path, instruments: InstrumentsLoader = Instruments) -> None:
        self._generator, self._instruments = loader(), instruments()
        self._root = root

    def make(self, unit: WorkUnit) -> dict[str, Any]:
        """Generate, measure, pack and commit ``unit``. Committing is idempotent."""
        # In the candidates folder, where a later run removes it if this process is killed.
        scratch = self._root / f".{unit.id}.{secrets.token_hex(4)}.tmp"
        try:
            samples = ((request.scene.clip_id, self._sample(request)) for request in unit.requests)
            packed = write_tar(scratch, samples)
            CommitLog(self._root).commit(unit.id, scratch)
        finally:
            scratch.unlink(missing_ok=True)
        return {"clips": packed.num_samples}

    def _sample(self, request: Request) -> dict[str, bytes]:
        if self._generator.digest != request.model:
            raise UserError(
                f"{request.scene.clip_id} was planned for model {request.model}, but the loaded model is "
                f"{self._generator.digest}: start again in another run_dir"
            )
        first_frames = load_first_frames(self._root / FIRST_FRAMES_FOLDER, request.first_frames)
        clip = self._generator.generate(request.scene, first_frames, seed=request.seed, settings=request.settings)
        return candidate_members(request, clip, self._instruments)


def candidate_members(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, bytes]:
    """The members of a candidate's sample, measured as it is stored: decoded again from its own bytes."""
    members, clip_id = clip_members(clip, {}), request.scene.clip_id
    metadata = candidate_metadata(request, clip_from_members(members, clip_id)[0], instruments)
    return members | {"json": dump_json(extend_metadata(members["json"], metadata, clip_id))}


def candidate_metadata(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, Any]:
    """The metadata of a candidate: its request, model and settings, its measures and its provenance.

    A pure function of the request and the clip, without timestamps, so that a repeated unit has the same bytes.
    """
    return {
        "request": request.id,
        "edit": request.edit,
        "seed": request.seed,
        "model": request.model,
        "settings": asdict(request.settings),
        "first_frames": request.first_frames,
        "measures": measure(clip, instruments).to_json(),
        "provenance": {"synthetic": True, "recording": request.scene.source, "split": request.scene.split},
    }
