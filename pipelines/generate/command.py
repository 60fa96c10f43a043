"""Generate: requests become candidate clips, each with its measures, committed unit by unit to ``<run>/candidates``."""

import argparse
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import show_progress, track
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.webdataset_shards.format import clip_from_members, clip_members, dump_json, extend_metadata
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.pipelines.config.config import Config
from driveforge.pipelines.console import print_result
from driveforge.pipelines.generate.commit import CommitLog, remove_scratch, remove_unreferenced
from driveforge.pipelines.generate.executors.attempts import AttemptLog
from driveforge.pipelines.generate.executors.execution import require_executor, run_units
from driveforge.pipelines.generate.executors.interface import UnitOutcome
from driveforge.pipelines.generate.executors.settings import ExecutorSettings
from driveforge.pipelines.generate.requests import Request, load_first_frames, plan_requests, store_first_frames
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import GenerationPlan, Unit, open_or_create_plan
from driveforge.pipelines.inputs.instruments import InstrumentsLoader, load_instruments
from driveforge.pipelines.inputs.settings import Data
from driveforge.pipelines.inputs.sources import generation_indices, open_source
from driveforge.pipelines.registry.models import resolve_checkpoint
from driveforge.pipelines.tracking.runs import Tracker, pipeline_run
from driveforge.validation.instruments import DEFAULT_INSTRUMENTS, Instruments
from driveforge.validation.measures import measure

if TYPE_CHECKING:
    from driveforge.finetune.world_model.sampler_settings import SamplerSettings

# Stored beside the plan, under a name made of their content.
FIRST_FRAMES_FOLDER = "first_frames"
# The codec packs the first frame alone and the others in fours, so one is the least that can be given.
NUM_FIRST_FRAMES = 1


class ClipGenerator(Protocol):
    """What makes clips; ``digest`` tells its weights apart, ``reconstruct`` shows what its codec alone loses."""

    digest: str

    def generate(
        self, scene: Scene, first_frames: NDArray[np.uint8] | None, *, seed: int, settings: "SamplerSettings"
    ) -> Clip: ...

    def reconstruct(self, clip: Clip) -> Clip: ...


ClipGeneratorLoader = Callable[[], ClipGenerator]


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSummary:
    """``num_made`` clips of one call, ``num_committed`` all of the plan so far; ``failed`` maps unit to error."""

    plan: str
    num_made: int
    num_committed: int
    seconds: float
    failed: dict[str, str] = field(default_factory=dict)


def main(config: Config, args: argparse.Namespace) -> int:
    """Plan, generate and commit; status 1 where a unit had to be set aside."""
    require_executor(config.executor)  # before seconds of imports
    with pipeline_run(config, "generation") as tracker:
        summary = generate_candidates(config)
        log_generation(summary, tracker)
    print_result(f"{summary.num_committed} candidates in {config.run.candidates}, {summary.num_made} of them made now")
    for unit, error in summary.failed.items():
        print_result(error.strip().splitlines()[-1], prefix=f"{unit} was set aside: ", style="red")
    return 1 if summary.failed else 0


def log_generation(summary: GenerationSummary, tracker: Tracker) -> None:
    tracker.log_metrics(
        {"clips": summary.num_committed, "seconds": summary.seconds, "failed_units": len(summary.failed)}
    )


def generate_candidates(config: Config) -> GenerationSummary:
    """All candidates that ``config`` asks for, by the run's fine-tuned model, or the configured one without it."""
    from driveforge.finetune.world_model.model import compute_model_digest

    folder, root = resolve_model(config), config.run.candidates
    instruments = partial(load_instruments, config.validate)
    instruments()  # what is missing is said before any work is done
    plan = plan_candidates(root, config.data, config.generate, compute_model_digest(folder))
    return generate(root, plan, partial(load_generator, folder), config.executor, instruments)


def resolve_model(config: Config) -> Path:
    """``<run_dir>/model`` where a fine-tune has left one, else the configured checkpoint."""
    return config.run.model if config.run.model.is_dir() else resolve_checkpoint(config)


def load_generator(folder: Path) -> ClipGenerator:
    """The world model in ``folder``, on a GPU where this process sees one."""
    import torch

    from driveforge.finetune.world_model.generator import Generator

    return Generator.load(folder, "cuda" if torch.cuda.is_available() else "cpu")


def plan_candidates(root: Path, data: Data, settings: GenerateSettings, model: str) -> GenerationPlan:
    """The plan in ``root``: clips of the model with digest ``model``, from the held-out scenes of ``data``."""
    from driveforge.finetune.world_model.conditions import require_encodable

    source = open_source(data)

    def store(scene: Scene) -> str:
        return store_first_frames(root / FIRST_FRAMES_FOLDER, source.load(scene).frames[:, :NUM_FIRST_FRAMES])

    all_scenes = source.scenes()
    scenes = [all_scenes[number] for number in generation_indices(all_scenes)]
    require_encodable(scenes)
    requests = plan_requests(scenes, store, settings, model)
    return open_or_create_plan(root, requests, settings.clips_per_unit)


def generate(
    root: Path,
    plan: GenerationPlan,
    loader: ClipGeneratorLoader,
    executor: ExecutorSettings,
    instruments: InstrumentsLoader = Instruments,
) -> GenerationSummary:
    """Make every unit of ``plan`` that is not committed under ``root`` yet; set aside those that keep failing.

    ``loader`` and ``instruments`` run once in each worker; for Ray they have to be picklable by reference, as a
    ``partial`` of a function is.
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


def invalidate_damaged(log: CommitLog, units: Sequence[Unit]) -> None:
    """Have units that were damaged since they were committed count as not made, and say so of each."""
    committed = [unit for unit in units if log.is_committed(unit.id)]
    for unit in track(committed, "Checking what is there", disable=not committed):
        try:
            keys = tuple(log.read_verified(log.read_marker(unit.id)))
            if keys != tuple(request.scene.clip_id for request in unit.requests):
                raise UserError("its clips are not those of the plan")
        except UserError as damage:
            print_result(damage, prefix=f"{unit.id} is made again: ", style="yellow")
            log.invalidate(unit.id)


def _outcomes(
    plan: GenerationPlan, log: CommitLog, factory: Callable[[], "GenerationWorker"], executor: ExecutorSettings
) -> Iterator[UnitOutcome]:
    """Outcomes of the uncommitted units, under a progress bar of clips."""
    pending, attempts = [unit for unit in plan.units if not log.is_committed(unit.id)], AttemptLog(log.root)
    for unit in plan.units:
        if log.is_committed(unit.id):
            attempts.clear(unit.id)  # the run that committed it may have been killed before it did
    sizes = {unit.id: len(unit.requests) for unit in plan.units}
    total, num_pending = sum(sizes.values()), sum(sizes[unit.id] for unit in pending)
    columns = (TextColumn("Generating"), BarColumn(), MofNCompleteColumn(), TextColumn("clips,"), TimeRemainingColumn())
    with show_progress(Progress(*columns, disable=not pending)) as progress:
        bar = progress.add_task("", total=total, completed=total - num_pending)
        for outcome in run_units(pending, factory, executor, attempts):
            progress.advance(bar, sizes[outcome.unit])
            yield outcome


class GenerationWorker:
    """The worker: holds one generator, and turns each unit into one committed tar."""

    def __init__(self, loader: ClipGeneratorLoader, root: Path, instruments: InstrumentsLoader = Instruments) -> None:
        self._generator, self._instruments = loader(), instruments()
        self._root = root

    def make(self, unit: Unit) -> dict[str, Any]:
        """Generate, measure, pack, commit. Whoever commits a unit second changes nothing."""
        # Beside the candidates, where a later run collects it: nothing is left elsewhere when this process is killed.
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
                f"{request.scene.clip_id} was planned for model {request.model}, the loaded one is "
                f"{self._generator.digest}: begin anew in another run_dir"
            )
        first_frames = load_first_frames(self._root / FIRST_FRAMES_FOLDER, request.first_frames)
        clip = self._generator.generate(request.scene, first_frames, seed=request.seed, settings=request.settings)
        return candidate_members(request, clip, self._instruments)


def candidate_members(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, bytes]:
    """The members of a candidate's sample, measured as exported: decoded again from the bytes that are kept."""
    members, clip_id = clip_members(clip, {}), request.scene.clip_id
    metadata = candidate_metadata(request, clip_from_members(members, clip_id)[0], instruments)
    return members | {"json": dump_json(extend_metadata(members["json"], metadata, clip_id))}


def candidate_metadata(request: Request, clip: Clip, instruments: Instruments = DEFAULT_INSTRUMENTS) -> dict[str, Any]:
    """What a candidate says of itself: what was asked for, who made it, from what, and what was measured on it.

    A pure function of the request and the clip, without a clock in it, so that a repeated unit has the same bytes.
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
