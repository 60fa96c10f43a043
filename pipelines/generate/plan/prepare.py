"""The plan of a run: read if it is that of the current scenes, model and settings, made otherwise."""

from collections.abc import Iterator
from pathlib import Path

from driveforge.datasets.progress import track
from driveforge.datasets.scene import Scene
from driveforge.datasets.stores.opening import open_store, share
from driveforge.pipelines.generate.plan.planner import SceneInputs, plan_entries
from driveforge.pipelines.generate.plan.recorded import Recorded
from driveforge.pipelines.generate.plan.summary import (
    SUMMARY_FILE,
    PlanSummary,
    Tally,
    digest_inputs,
    read_summary,
    write_summary,
)
from driveforge.pipelines.generate.requests import (
    FIRST_FRAMES_FOLDER,
    SCENES_FOLDER,
    PlannedRequest,
    is_intact,
    store_scene,
)
from driveforge.pipelines.generate.settings import GenerateSettings
from driveforge.pipelines.generate.units import PLAN_FILE, GenerationPlan, open_or_create_plan, read_plan


def prepare_plan(
    root: Path, recorded: Recorded, settings: GenerateSettings, model: str, *, may_replace: bool = False
) -> tuple[GenerationPlan, PlanSummary]:
    """The plan under ``root``, and what is in it; ``model`` is the digest of the generator.

    Raises UserError if there is another plan, unless it ``may_replace`` one of which nothing is committed.
    """
    inputs = digest_inputs(recorded.all_scenes, recorded.scenes, settings, model)
    if (found := _read_current(root, inputs)) is not None:
        return found
    if may_replace and not any((root / "_commits").glob("*.json")):
        _remove_plan(root)
    tally = Tally(scenes={scene.clip_id: scene for scene in recorded.scenes})
    requests = _tallied(root, recorded, settings, model, tally)
    plan = open_or_create_plan(root, track(requests, "Planning", settings.num_clips), settings.clips_per_unit)
    summary = tally.summarize(plan.part_digests[0], inputs, len(plan.units), recorded.screening.screened)
    write_summary(root, summary)
    return plan, summary


def _tallied(
    root: Path, recorded: Recorded, settings: GenerateSettings, model: str, tally: Tally
) -> Iterator[PlannedRequest]:
    candidates = open_store(root)

    def store(scene: Scene, content: bytes) -> str:
        name = store_scene(root / SCENES_FOLDER, content)
        share(candidates, f"{SCENES_FOLDER}/{name}")
        return name

    inputs = SceneInputs(store_first_frames=recorded.store, store_scene=store, refusal=recorded.screening.refusal)
    for planned, edited in plan_entries(recorded.scenes, inputs, settings, model):
        yield tally.add(planned, edited)


def _remove_plan(root: Path) -> None:
    for path in (root / SUMMARY_FILE, *root.glob("plan*.jsonl"), *(root / SCENES_FOLDER).glob("*.json")):
        path.unlink(missing_ok=True)


def _read_current(root: Path, inputs: str) -> tuple[GenerationPlan, PlanSummary] | None:
    """The plan made from ``inputs``, if it is complete: no scene is edited and no frame is read again."""
    summary = read_summary(root)
    if summary is None or summary.inputs != inputs or not (root / PLAN_FILE).is_file():
        return None
    if not _has_inputs(root, summary):
        return None
    plan = read_plan(root)
    return (plan, summary) if plan.part_digests[0] == summary.plan else None


def _has_inputs(root: Path, summary: PlanSummary) -> bool:
    """Whether the stored scenes and first frames are there; intact, if a unit failed, since that may be the reason."""
    scenes, first_frames = list((root / SCENES_FOLDER).glob("*.json")), list((root / FIRST_FRAMES_FOLDER).glob("*.npy"))
    if len(scenes) < summary.num_stored_scenes or len(first_frames) < summary.num_first_frames:
        return False
    has_failures = any((root / "_quarantine").glob("*.json"))
    return not has_failures or all(is_intact(path) for path in (*scenes, *first_frames))
