"""Generate the clips of ``pipelines/studies/validator/labeled_clips``:
``python -m tests.benchmarks.generated_clips runs/labeled --previous-base DIR``.

Output of world models, good and bad, on held-out simulated scenes under edited commands: the previous base and the
shipped one with the default sampler, with too much guidance or too few steps, without a first frame, and continued
twice. Takes about half an hour on two cores; clips that are in the work folder already are kept. Clips are numbered in
random order, so that a rater of ``clip-007`` does not know how it was made.
"""

import argparse
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.edits import EDITS, EditNotApplicable, edit_scene
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.select_frames import select_frames
from driveforge.datasets.simulated_source import SimulatedSource, SimulationConfig, simulated_scene
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tar_samples import read_samples
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.registry.models import BASE
from tests.defaults import defaults, sampler_settings, simulation_config

# No training, calibration, demo or other benchmark uses these scenes.
HELD_OUT_SEED = 46_000
SHUFFLE_SEED = 14
SPLIT_SEED = "labeled clips"
HALVES = ("design", "sealed")
FOLDER = Path("pipelines/studies/validator/labeled_clips")
# The names of the groups are those of the time when the clips were labeled: the new base is the one that ships now.
SHIPPED, NEW = "shipped base", "new base"
NEW_WITHOUT_FRAME = f"{NEW}, no first frame"
# The commands of `driveforge demo` and the other two that keep the first frame.
COMMANDS = ("as-recorded", "slower", "shift-left", "agent-shifts", "mirror-yaw", "shift-right", "agent-brakes")
# After a change of weather there is no first frame, so the model has only the layout.
WEATHERS = ("dusk", "rain", "day")
NUM_FRAMES = 17
# A continuation is given the last frames of the clip so far, and adds the other twelve.
GIVEN_FRAMES, NUM_SEGMENTS = 5, 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a clip is made. ``edits`` are tried in turn until one is applicable to the scene."""

    group: str
    model: str
    edits: tuple[str, ...]
    settings: SamplerSettings
    has_first_frame: bool
    num_segments: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A recipe with its number, which determines the scene and the noise."""

    number: int
    recipe: Recipe

    @property
    def clip_id(self) -> str:
        return f"clip-{self.number:03d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="the folder of single clips; interrupted generation resumes")
    parser.add_argument(
        "--previous-base", type=Path, help="model folder; without it, the clips of the previous base are left out"
    )
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    models = {NEW: BASE} | ({SHIPPED: arguments.previous_base} if arguments.previous_base else {})
    jobs = [job for job in all_jobs() if job.recipe.model in models]
    missing = [job for job in jobs if not tar_of(arguments.work, job).is_file()]
    arguments.work.mkdir(parents=True, exist_ok=True)
    made = parallel_map(partial(make, arguments.work, models), missing)
    for _ in track(made, "Generating", total=len(missing)):
        pass
    for half, members in split(all_jobs()).items():
        samples = itertools.chain.from_iterable(_read(arguments.work, job) for job in members if job in jobs)
        summary = write_tar(arguments.out / f"{half}.tar", samples)
        print(f"{summary.num_samples} clips, {summary.num_bytes / 1e6:.1f} MB, in {summary.path}")


def all_jobs() -> list[Job]:
    """All clips, in the order of their numbers; those of the new base have the last numbers."""
    rng = np.random.default_rng(SHUFFLE_SEED)
    first = [recipe for recipe in recipes() if recipe.model == SHIPPED and recipe.num_segments == 1]
    second = [recipe for recipe in recipes() if recipe.model == NEW or recipe.num_segments > 1]
    third = list(no_first_frame_recipes(NEW_WITHOUT_FRAME, NEW, 16))
    shuffled = [batch[n] for batch in (first, second, third) for n in rng.permutation(len(batch))]
    return [Job(number=number, recipe=recipe) for number, recipe in enumerate(shuffled)]


def recipes() -> list[Recipe]:
    return [
        *default_recipes(SHIPPED, 100),
        *default_recipes(NEW, 100),
        *bad_recipes(),
        *no_first_frame_recipes("no first frame", SHIPPED, 32),
        *long_recipes(SHIPPED, 12),
        *long_recipes(NEW, 12),
    ]


def default_recipes(model: str, count: int) -> Iterator[Recipe]:
    """The default sampler; every eighth clip has a changed weather, and so no first frame."""
    for number in range(count):
        if number % 8 == 7:
            yield _without_frame(f"{model}, default sampler", model, _from(WEATHERS, number // 8))
        else:
            edits, settings = _from(COMMANDS, number), sampler_settings()
            group = f"{model}, default sampler"
            yield Recipe(group=group, model=model, edits=edits, settings=settings, has_first_frame=True)


def bad_recipes() -> Iterator[Recipe]:
    """48 clips: too much guidance, one step from noise, several steps from noise, too few steps without a frame."""
    changes: list[dict[str, Any]] = [
        *[{"guidance_scale": scale} for scale in (5.0, 8.0)],
        {"num_steps": 1, "strength": 1.0, "inpaint_steps": 0, "guidance_scale": 1.0},
        {"num_steps": 1, "strength": 1.0, "inpaint_steps": 0, "guidance_scale": 2.0},
        {"num_steps": 4, "strength": 1.0, "inpaint_steps": 0, "guidance_scale": 2.0},
        {"num_steps": 4, "strength": 1.0, "inpaint_steps": 0, "guidance_scale": 4.0},
    ]
    for change, number in itertools.product(changes, range(6)):
        edits, settings = _from(COMMANDS, number), sampler_settings(**change)
        yield Recipe(group="bad sampler", model=SHIPPED, edits=edits, settings=settings, has_first_frame=True)
    for num_steps, number in itertools.product((1, 2), range(6)):
        yield _without_frame("bad sampler", SHIPPED, _from(COMMANDS + WEATHERS, number), num_steps=num_steps)


def no_first_frame_recipes(group: str, model: str, count: int) -> Iterator[Recipe]:
    for number in range(count):
        yield _without_frame(group, model, _from((*COMMANDS[:5], *WEATHERS), number))


def long_recipes(model: str, count: int) -> Iterator[Recipe]:
    for number in range(count):
        edits, settings = _from(COMMANDS, number), sampler_settings()
        yield Recipe(
            group="continued",
            model=model,
            edits=edits,
            settings=settings,
            has_first_frame=True,
            num_segments=NUM_SEGMENTS,
        )


def _without_frame(group: str, model: str, edits: tuple[str, ...], **changes: Any) -> Recipe:
    settings = replace(defaults().generate.sampler_without_frame, **changes)
    return Recipe(group=group, model=model, edits=edits, settings=settings, has_first_frame=False)


def _from(edits: Sequence[str], start: int) -> tuple[str, ...]:
    """``edits`` in turn from number ``start``; as-recorded, which is always applicable, comes last."""
    start %= len(edits)
    return (*edits[start:], *edits[:start], "as-recorded")


def split(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The halves, in the order of the clips: of every group, the half with the lower hashes is for design."""
    halves: dict[str, list[Job]] = {half: [] for half in HALVES}
    for group in {job.recipe.group for job in jobs}:
        members = sorted((job for job in jobs if job.recipe.group == group), key=_split_hash)
        halves["design"] += members[: len(members) // 2]
        halves["sealed"] += members[len(members) // 2 :]
    return {half: sorted(members, key=lambda job: job.number) for half, members in halves.items()}


def _split_hash(job: Job) -> str:
    return hashlib.sha256(f"{SPLIT_SEED}:{job.number}".encode()).hexdigest()


def tar_of(work: Path, job: Job) -> Path:
    return work / f"{job.clip_id}.tar"


def _read(work: Path, job: Job) -> Iterator[tuple[str, dict[str, bytes]]]:
    for key, members in read_samples(tar_of(work, job)):
        yield key, dict(members)


def make(work: Path, models: dict[str, Path], job: Job) -> None:
    """Generate the clip of ``job`` and write it as a tar of one sample; the metadata is the full recipe."""
    recipe, config = job.recipe, _scenes_of(job.recipe)
    domain = DRIVING_DOMAINS[job.number % len(DRIVING_DOMAINS)]
    recorded = simulated_scene(config, domain, job.number)
    edit, edited = _first_applicable(recorded, recipe.edits)
    scene = replace(edited, clip_id=job.clip_id)
    has_first_frame = recipe.has_first_frame and EDITS[edit].keeps_first_frame
    first = SimulatedSource(config).load(recorded).frames[:, :1] if has_first_frame else None
    generator = _load(models[recipe.model])
    clip = generate(generator, scene, first, seed=HELD_OUT_SEED + job.number, recipe=recipe)
    metadata = {
        "group": recipe.group,
        "model": generator.digest,
        "simulation_seed": HELD_OUT_SEED,
        "recorded": recorded.clip_id,
        "edit": edit,
        "seed": HELD_OUT_SEED + job.number,
        "has_first_frame": has_first_frame,
        "num_segments": recipe.num_segments,
        "settings": asdict(recipe.settings),
    }
    members = clip_members(clip, metadata)
    del members["thumb.jpg"]  # a tenth of the bytes, and nothing reads it
    scratch = work / f".{job.clip_id}.{os.getpid()}"
    write_tar(scratch, [(job.clip_id, members)])
    scratch.rename(tar_of(work, job))


def generate(generator: Generator, scene: Scene, first: NDArray[np.uint8] | None, *, seed: int, recipe: Recipe) -> Clip:
    """The clip of ``scene``, each further segment given the last ``GIVEN_FRAMES`` frames before it."""
    step = NUM_FRAMES - GIVEN_FRAMES
    given, views = first, []
    for segment in range(recipe.num_segments):
        part = select_frames(scene, np.arange(segment * step, segment * step + NUM_FRAMES))
        frames = generator.generate(part, given, seed=seed + 100_000 * segment, settings=recipe.settings).frames
        views.append(frames if segment == 0 else frames[:, GIVEN_FRAMES:])
        given = frames[:, -GIVEN_FRAMES:]
    return Clip(scene=scene, frames=np.concatenate(views, axis=1))


def _scenes_of(recipe: Recipe) -> SimulationConfig:
    num_frames = NUM_FRAMES + (recipe.num_segments - 1) * (NUM_FRAMES - GIVEN_FRAMES)
    return simulation_config(
        seed=HELD_OUT_SEED, domains=DRIVING_DOMAINS, num_scenes=1000, num_frames=num_frames, close_share=0.25
    )


def _first_applicable(scene: Scene, edits: Sequence[str]) -> tuple[str, Scene]:
    for edit in edits:
        try:
            return edit, edit_scene(scene, edit)
        except EditNotApplicable:
            continue
    raise AssertionError("as-recorded is always applicable")


@cache
def _load(folder: Path) -> Generator:
    return load_generator(folder)


if __name__ == "__main__":
    main()
