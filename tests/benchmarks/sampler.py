"""Comparison of sampler settings: ``python -m tests.benchmarks.sampler MODEL [--sheet FILE]``.

On simulated scenes that no other benchmark uses, with and without a first frame. Prints the tables of
docs/benchmarks.md. The sheet shows clips of each setting for the scenes with the nearest vehicles; inspect it, since
PSNR prefers blur.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from driveforge.datasets.domains import DRIVING_DOMAINS
from driveforge.datasets.scene import Clip, Scene
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.world_model.sampler_settings import SamplerSettings
from driveforge.pipelines.generate.generator import Generator, load_generator
from driveforge.pipelines.plots.contact_sheet import SheetRow, render_contact_sheet, write_png
from driveforge.validation.measures import measure, static_track_residual
from tests.benchmarks.detail import MIN_RETAINED, retained_detail, visible_parts
from tests.benchmarks.quality import FOLLOWED, moved_boxes
from tests.defaults import sampler_settings, simulation_config

SEED = 22_000
SCENES_A_DOMAIN = 12

WITH_FRAME = {
    "from 0.7, 1 step, guidance 1.5": sampler_settings(num_steps=1, strength=0.7, inpaint_steps=0, guidance_scale=1.5),
    "from 0.7, 4 steps, guidance 1.5": sampler_settings(strength=0.7, inpaint_steps=0, guidance_scale=1.5),
    "4 from 0.95, then the same": sampler_settings(strength=0.7, guidance_scale=1.5),
    "4 from 0.95, then from 0.5, 4 steps, guidance 1": sampler_settings(guidance_scale=1.0),
    "the same, guidance 1.5": sampler_settings(guidance_scale=1.5),
    "the same, guidance 2 (shipped)": sampler_settings(),
    "the same, guidance 3": sampler_settings(guidance_scale=3.0),
    "2 from 0.95, then from 0.5, 2 steps, guidance 2": sampler_settings(num_steps=2, inpaint_steps=2),
}
WITHOUT_FRAME = {
    f"{steps} steps, guidance {scale:g}": sampler_settings(
        num_steps=steps, strength=1.0, inpaint_steps=0, guidance_scale=scale
    )
    for steps, scale in ((1, 1.5), (4, 1.5), (6, 1.5), (8, 1.5), (8, 2.0), (8, 3.0))
}

SHOWN_CLIPS = 6
SHOWN = (
    "from 0.7, 4 steps, guidance 1.5",
    "the same, guidance 2 (shipped)",
    "1 steps, guidance 1.5",
    "8 steps, guidance 2",
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Made:
    """The generated and recorded clips of one setting; CPU seconds per clip."""

    clips: list[Clip]
    recorded: list[Clip]
    seconds: float = 0.0
    followed: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--without-frame", action="store_true", help="settings for clips without a first frame")
    parser.add_argument("--clips", type=int, default=12, help="number of scenes, those with the nearest vehicles")
    parser.add_argument("--boxes", type=int, default=6, help="vehicles that are commanded to move aside")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    generator = load_generator(arguments.model)
    source = SimulatedSource(simulation_config(seed=SEED, domains=DRIVING_DOMAINS, num_scenes=SCENES_A_DOMAIN))
    nearest = sorted(source.scenes(), key=lambda scene: -largest_box(scene))
    recorded = [source.load(scene) for scene in nearest[: arguments.clips]]
    made = {
        "the recording, through the VAE": Made(clips=[generator.reconstruct(c) for c in recorded], recorded=recorded)
    }
    for name, settings in (WITHOUT_FRAME if arguments.without_frame else WITH_FRAME).items():
        made[name] = make(generator, recorded, settings, given=not arguments.without_frame)
        if not arguments.without_frame:
            shares = moved_boxes(generator, source, nearest, arguments.boxes, settings)
            followed = sum(FOLLOWED[0] <= share <= FOLLOWED[1] for share in shares)
            made[name] = replace(made[name], followed=f"{followed} of {len(shares)}")
    print(
        "| sampling | PSNR, dB | residual, px | tracks lost | detail retained | boxes retaining it | followed | CPU-s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, one in made.items():
        print(row(name, one))
    if arguments.sheet:
        write_png(arguments.sheet, render_sheet(made))


def largest_box(scene: Scene) -> int:
    """Pixels of the nearest box's visible part, in the frame where it is largest."""
    return max((int(inside.sum((1, 2)).max()) for inside in visible_parts(scene)), default=0)


def make(generator: Generator, recorded: Sequence[Clip], settings: SamplerSettings, *, given: bool) -> Made:
    start = time.process_time()
    clips = [
        generator.generate(clip.scene, clip.frames[:, :1] if given else None, seed=0, settings=settings)
        for clip in track(recorded, "Generating")
    ]
    return Made(clips=clips, recorded=list(recorded), seconds=(time.process_time() - start) / len(clips))


def row(name: str, made: Made) -> str:
    psnr = np.mean([_psnr(a.frames, b.frames) for a, b in zip(made.clips, made.recorded, strict=True)])
    residuals = [r for clip in made.clips if (r := static_track_residual(clip)) is not None]
    lost = [m.value for clip in made.clips if (m := measure(clip)["time_track_loss"]).value is not None]
    kept = [share for clip in made.clips for share in retained_detail(clip.frames[0], clip.scene)]
    keeping = f"{sum(share >= MIN_RETAINED for share in kept)} of {len(kept)}"
    return (
        f"| {name} | {psnr:.2f} | {np.median(residuals):.2f} | {np.mean(lost):.3f} | {np.median(kept):.2f} "
        f"| {keeping} | {made.followed} | {made.seconds:.1f} |"
    )


def _psnr(made: NDArray[np.uint8], recorded: NDArray[np.uint8]) -> float:
    """Of all but the first frame, dB."""
    error = np.square(made[:, 1:].astype(np.float64) - recorded[:, 1:]).mean()
    return float(10 * np.log10(255**2 / error))


def render_sheet(made: Mapping[str, Made]) -> NDArray[np.uint8]:
    """A sheet with the recording and the clips of the settings ``SHOWN``, clip by clip."""
    displayed = {name: one for name, one in made.items() if name in SHOWN}
    rows = []
    for number, recorded in enumerate(next(iter(made.values())).recorded[:SHOWN_CLIPS]):
        rows.append(SheetRow(caption=f"recorded: {recorded.scene.caption}", frames=recorded.frames[0]))
        rows += [SheetRow(caption=name, frames=one.clips[number].frames[0]) for name, one in displayed.items()]
    return render_contact_sheet(rows, scale=1, columns=1 + len(displayed))


if __name__ == "__main__":
    main()
