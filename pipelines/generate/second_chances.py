"""Further attempts at requests of which no clip was accepted.

``plan-02.jsonl`` holds the second attempts, ``plan-03.jsonl`` the third, and so on: each is a part of the plan, made
once, when all units of the attempt before are committed or quarantined.
"""

from collections.abc import Callable, Iterator, Set
from dataclasses import replace
from pathlib import Path

from driveforge.datasets.errors import UserError
from driveforge.datasets.progress import track
from driveforge.pipelines.console import print_message
from driveforge.pipelines.generate.candidates import iter_candidates
from driveforge.pipelines.generate.requests import SCENES_FOLDER, PlannedRequest, derive_seed, load_scene
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import GenerationPlan, StoredRequests, append_units, read_plan
from driveforge.validation.calibration import Calibration
from driveforge.validation.verdict import judge

# A stronger guidance scale, in units of what is above 1, where there is no guidance.
_GUIDANCE_FACTOR = 1.5


def require_calibration_for_retries(settings: GenerateSettings, calibration: Path) -> None:
    """Raise UserError if clips are to be judged without limits."""
    if settings.retries and not calibration.is_file():
        raise UserError(
            f"generate.retries={list(settings.retries)} needs limits to judge clips by, but {calibration} does not "
            "exist: run `driveforge calibrate` first, or set generate.retries=[]"
        )


def attempt_again(
    root: Path, settings: GenerateSettings, calibration: Path, generate: Callable[[GenerationPlan], None]
) -> None:
    """Make further attempts at all requests without an accepted clip, with ``generate``, as often as ``settings`` say.

    A part of the plan that exists already is finished as it is.
    """
    if not settings.retries:
        return
    limits = Calibration.load(calibration)
    for attempt, change in enumerate(settings.retries, start=2):
        plan = read_plan(root)
        if len(plan.part_digests) < attempt:
            failed = _failed_clips(root, attempt - 1, limits)
            print_message(
                f"attempt {attempt} ({change}): {len(failed)} clips of attempt {attempt - 1} were not accepted"
            )
            if not failed:
                return
            requests = (retry(planned, root, attempt, change) for planned in _planned(plan, failed))
            plan = append_units(root, requests, settings.clips_per_unit)
        generate(plan)


def retry(planned: PlannedRequest, root: Path, attempt: int, change: str) -> PlannedRequest:
    """A further attempt at ``planned``, with another seed, and with what ``change`` says."""
    sampler = planned.settings
    if change == "steps":
        sampler = replace(sampler, num_steps=2 * sampler.num_steps, inpaint_steps=2 * sampler.inpaint_steps)
    elif change == "guidance":
        sampler = replace(sampler, guidance_scale=1 + _GUIDANCE_FACTOR * (sampler.guidance_scale - 1))
    first = planned.attempt_of or planned.clip_id
    again = replace(
        planned, seed=derive_seed(f"{first}:{attempt}"), settings=sampler, attempt=attempt, attempt_of=first
    )
    scene = load_scene(root / SCENES_FOLDER, planned.scene)
    request = replace(again, clip_id=scene.clip_id).with_scene(scene)
    return replace(again, clip_id=f"{scene.clip_id}-{request.id[:8]}")


def _failed_clips(root: Path, attempt: int, limits: Calibration) -> set[str]:
    """The clips of an attempt that the gate would not accept."""
    return {
        candidate.clip_id
        for candidate in track(iter_candidates(root), "Judging candidates")
        if candidate.metadata.get("attempt", 1) == attempt and judge(candidate.measures, limits).state != "accepted"
    }


def _planned(plan: GenerationPlan, clip_ids: Set[str]) -> Iterator[PlannedRequest]:
    for unit in plan.units:
        if isinstance(unit.requests, StoredRequests):
            for number, clip_id in enumerate(unit.clip_ids):
                if clip_id in clip_ids:
                    yield unit.requests.planned(number)
