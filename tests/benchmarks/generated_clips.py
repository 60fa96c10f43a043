"""Generate clips like those of ``pipelines/studies/validator/labeled_clips``:
``python -m tests.benchmarks.generated_clips runs/generated``.

Output of world models, good and bad, on held-out simulated scenes: the base with default settings, with too strong
guidance, and after too few training steps. The committed clips are of the previous base, so this makes other clips of
the same kinds. Takes some minutes on two cores. Clips are numbered in random order, so that a rater of ``clip-07``
does not know how it was made.
"""

import argparse
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.progress import track

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.edits import EDITS, EditNotApplicable, edit_scene
from driveforge.datasets.scene import Scene
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.datasets.webdataset_shards.format import clip_members
from driveforge.datasets.webdataset_shards.tarball import write_tar
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.registry.models import BASE
from driveforge.pipelines.train.pretrain import main as pretrain
from tests.defaults import sampler_settings, simulation_config

# No training, demo or calibration uses these scenes.
HELD_OUT = simulation_config(seed=20_000, domains=DRIVING_DOMAINS, num_scenes=60)
# Steps after which the short training run is used.
STAGES = (40, 60)
# After a change of weather there is no first frame, so the model has only the layout.
COMMANDS = ("as-recorded", "shift-left", "agent-shifts", "slower", "mirror-yaw", "shift-right", "agent-brakes")
WEATHERS = ("dusk", "rain", "day")
SEED = 7
# One noise level for the whole clip: the settings of the base that made the committed clips.
ONE_LEVEL = {"inpaint_steps": 0, "guidance_scale": 1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One clip: ``maker`` is "base" or "after N steps"; ``recorded`` is the number of a scene of ``HELD_OUT``."""

    group: str
    maker: str
    recorded: int
    edit: str
    seed: int
    settings: SamplerSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="the folder to train in; interrupted training resumes")
    parser.add_argument("--out", type=Path, default=Path("pipelines/studies/validator/labeled_clips/clips.tar"))
    arguments = parser.parse_args()
    models = {f"after {steps} steps": train_to(arguments.work, steps) for steps in STAGES}
    generators = {maker: load_generator(folder) for maker, folder in {"base": BASE, **models}.items()}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    summary = write_tar(arguments.out, make_all(recipes(), generators))
    print(f"{summary.num_samples} clips, {summary.num_bytes / 1e6:.1f} MB, in {arguments.out}")


def train_to(work: Path, steps: int) -> Path:
    """The world model after ``steps`` steps of `driveforge pretrain` with the shipped VAE, on an eighth of its clips.

    Training resumes from the checkpoint of the previous stage.
    """
    folder = work / f"steps-{steps}"
    if folder.is_dir():
        return folder
    out = work / "pretrain"
    if not out.is_dir():
        shutil.copytree(BASE / "vae", out / "vae")
        shutil.copy(BASE / "vae_curve.csv", out)
    settings = {"out": out, "num_scenes": 126, "steps": steps, "checkpoint_every": 20}
    pretrain(compose([f"pretrain.{key}={value}" for key, value in settings.items()]), argparse.Namespace())
    (out / "model").rename(folder)
    return folder


def recipes() -> list[Recipe]:
    """All clips, in the order of their numbers."""
    default = sampler_settings(**ONE_LEVEL, num_steps=1, strength=0.7)
    plain = itertools.cycle(COMMANDS)
    either = itertools.cycle([*COMMANDS[:3], WEATHERS[0], *COMMANDS[3:5], WEATHERS[1]])
    made: list[tuple[str, str, str, SamplerSettings]] = []
    made += [("good settings", "base", next(plain), default) for _ in range(20)]
    made += [("no first frame", "base", weather, default) for weather in (*WEATHERS, "dusk")]
    for scale, strength, steps in itertools.product((2.0, 4.0), (0.7, 1.0), (1, 6)):
        settings = sampler_settings(inpaint_steps=0, guidance_scale=scale, strength=strength, num_steps=steps)
        made += [("over-guided", "base", next(either), settings) for _ in range(2)]
    for steps_taken, (strength, steps) in itertools.product(STAGES, ((0.7, 1), (1.0, 1), (0.7, 6), (1.0, 10))):
        settings = sampler_settings(**ONE_LEVEL, strength=strength, num_steps=steps)
        made += [("under-trained", f"after {steps_taken} steps", next(either), settings)]
    rng = np.random.default_rng(SEED)
    scenes = iter(rng.permutation(len(DRIVING_DOMAINS) * HELD_OUT.num_scenes))
    listed = SimulatedSource(HELD_OUT).scenes()
    shuffled = [
        Recipe(
            group=group,
            maker=maker,
            recorded=next(int(n) for n in scenes if _allows(listed[int(n)], edit)),
            edit=edit,
            seed=int(rng.integers(2**31)),
            settings=settings,
        )
        for group, maker, edit, settings in made
    ]
    return [shuffled[n] for n in rng.permutation(len(shuffled))]


def _allows(scene: Scene, edit: str) -> bool:
    try:
        edit_scene(scene, edit)
    except EditNotApplicable:
        return False
    return True


def make_all(all_recipes: Sequence[Recipe], generators: dict[str, Generator]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The key and members of every clip, as in a shard; the recipe is the metadata of the sample."""
    for number, recipe in enumerate(track(all_recipes, "Generating")):
        yield make(number, recipe, generators[recipe.maker])


def make(number: int, recipe: Recipe, generator: Generator) -> tuple[str, dict[str, bytes]]:
    source = SimulatedSource(HELD_OUT)
    recorded = source.scenes()[recipe.recorded]
    scene = replace(edit_scene(recorded, recipe.edit), clip_id=f"clip-{number:02d}")
    first = source.load(recorded).frames[:, :1] if EDITS[recipe.edit].keeps_first_frame else None
    clip = generator.generate(scene, first, seed=recipe.seed, settings=recipe.settings)
    return scene.clip_id, clip_members(clip, asdict(recipe) | {"has_first_frame": first is not None})


if __name__ == "__main__":
    main()
