"""How much of the vehicles and of the rest a model gets right, when it generates simulated clips from their commands.

python -m tests.benchmarks.structure MODEL [MODEL ...]

40 clips of a seed that nothing else uses, half of them windows of recorded drives, with the settings of
`driveforge generate`. A crop is damaged if half of its structure or its color is lost against the same clip after the
VAE, as the artifact study defines it (`pipelines/studies/artifacts/damage.py`). About three minutes a model.
"""

import argparse
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from driveforge.datasets.geometry import Array
from driveforge.finetune.world_model.generator import WorldModelGenerator
from driveforge.pipelines.config.compose import compose
from driveforge.pipelines.processes.parallel import parallel_map
from driveforge.pipelines.studies.artifacts.examples import label_version
from driveforge.pipelines.studies.artifacts.true_clips import true_clip
from driveforge.pipelines.studies.artifacts.versions import Version

SEED, NUM_CLIPS = 61_000, 40
DAMAGED = 0.5


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Result:
    """Damage of the crops of one clip: of vehicles ``(N,)`` and of regions ``(M,)``; PSNR against the clip in dB."""

    vehicles: Array
    regions: Array
    psnr: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    print("| model | damaged vehicle crops | clips with one | damaged regions | PSNR, dB |")
    print("| --- | --- | --- | --- | --- |")
    for model in parser.parse_args().models:
        results = list(parallel_map(partial(_evaluate, model), range(NUM_CLIPS)))
        vehicles, regions = (np.concatenate([getattr(r, name) for r in results]) for name in ("vehicles", "regions"))
        with_damage = sum(bool((result.vehicles > DAMAGED).any()) for result in results)
        print(
            f"| {model} | {(vehicles > DAMAGED).mean():.3f} of {len(vehicles)} | {with_damage} of {NUM_CLIPS} "
            f"| {(regions > DAMAGED).mean():.3f} of {len(regions)} | {np.mean([r.psnr for r in results]):.2f} |"
        )


def _evaluate(model: Path, number: int) -> Result:
    rng, generator = np.random.default_rng((SEED, number)), _load(model)
    clip = true_clip(number, SEED, rng)
    made = generator.generate(clip.scene, clip.frames[:, :1], seed=number, settings=compose().generate.sampler)
    frames, coded = (np.asarray(one.frames[0], np.float32) for one in (made, generator.reconstruct(clip)))
    examples = label_version(clip, Version(frames=frames, worn=coded, is_generated=True), number, rng)
    is_vehicle = examples.context[:, 0] > 0
    error = float(((frames - clip.frames[0]) ** 2).mean())
    return Result(
        vehicles=examples.damage[is_vehicle],
        regions=examples.damage[~is_vehicle],
        psnr=float(10 * np.log10(255**2 / error)),
    )


@cache
def _load(model: Path) -> WorldModelGenerator:
    return WorldModelGenerator.load(model)


if __name__ == "__main__":
    main()
