"""Nights of seconds: a tiny base, driving data on disk, and the settings of ``driveforge nightly``.

Every stage is real. Clips are simulated drives of 9 frames; the model has a few thousand weights, which train for
seconds. It is judged by its loss at high noise levels: a model of this size predicts point motion too poorly to tell
two of them apart. The calibration is lenient, so that some of its clips are accepted.
"""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from driveforge.datasets.folder_source import write_clip_folder
from driveforge.datasets.scene import Clip
from driveforge.datasets.simulated_source import SimulatedSource
from driveforge.finetune.world_model.families.tiny import TinyConfig, TinyWorldModel
from driveforge.finetune.world_model.tiny_vae import initialize_from_pca
from driveforge.finetune.world_model.wan_codec import to_vae_input
from driveforge.pipelines.nightly.night import list_nights
from driveforge.pipelines.run_dir import RunDir
from driveforge.validation.cross_conformal import calibrate
from driveforge.validation.records import Measures, make_measure
from tests.defaults import simulation_config

TINY = TinyConfig(latent_channels=24, patch_size=8, num_layers=1, num_heads=1, head_dim=24, ffn_dim=32)
HEIGHT, WIDTH, FRAMES = 96, 160, 9
NUM_HELD_OUT, NUM_TRAINING = 6, 6
MEASURE = "loss/continuation/0.75-1/static"
SETTINGS = (
    "data=video",
    f"data.height={HEIGHT}",
    f"data.width={WIDTH}",
    f"data.num_frames={FRAMES}",
    f"data.stride={FRAMES}",
    "replay.domains=[orbit]",
    "replay.num_scenes=4",
    "evaluate.domains=[orbit]",
    "evaluate.clips_per_domain=6",
    "evaluate.dynamics=false",
    f"promote.improve={MEASURE}",
    f"promote.dynamics=[{MEASURE}]",
    "finetune=full",
    "finetune.steps=40",
    "finetune.learning_rate=3e-3",
    "finetune.warmup_steps=5",
    "finetune.ema_decay=0.9",
    "finetune.checkpoint_every=10",
    "generate.num_clips=2",
    "generate.clips_per_unit=1",
    "generate.edits=[as-recorded]",
    "generate.sampler.num_steps=1",
    "generate.sampler.strength=0.1",
    "generate.sampler.inpaint_steps=0",
    "generate.sampler.guidance_scale=1",
)
# A tiny model hardly forgets at the learning rate that it learns with. This rate, without replay, makes it certain.
FORGETTING = ("finetune.strategy=naive", "finetune.learning_rate=1.0", "finetune.steps=20")
# What other nights of the same data can use again.
CACHES = ("latents", "evaluation", "digests.json", "mlflow.db")


def make_world(root: Path) -> list[str]:
    """Write driving data, a base and a calibration to ``root``; returns the settings of the nights there."""
    day = simulate_drives(NUM_HELD_OUT + NUM_TRAINING)
    write_clips(root / "driving", day[:NUM_HELD_OUT], "held-out", "val")
    write_clips(root / "driving", day[NUM_HELD_OUT:], "day", "train")
    make_base(root / "base", day[:4])
    make_calibration(root / "calibration.json")
    return [
        *SETTINGS,
        f"data.root={root / 'driving'}",
        f"model.checkpoint={root / 'base'}",
        f"validate.calibration={root / 'calibration.json'}",
        f"run_dir={root / 'nights'}",
    ]


def simulate_drives(count: int) -> list[Clip]:
    config = simulation_config(
        seed=5, domains=("driving-day",), num_scenes=count, height=HEIGHT, width=WIDTH, num_frames=FRAMES
    )
    source = SimulatedSource(config)
    return [source.load(scene) for scene in source.scenes()]


def write_clips(root: Path, clips: Iterable[Clip], prefix: str, split: str) -> None:
    for number, clip in enumerate(clips):
        write_clip_folder(root, clip.with_scene(clip_id=f"{prefix}-{number}", source=f"{prefix}-{number}", split=split))


def add_odd_clips(root: Path) -> None:
    """Add training clips of the second night, which look like the negatives of the others."""
    day = simulate_drives(NUM_HELD_OUT + NUM_TRAINING)[NUM_HELD_OUT:]
    negatives = [Clip(scene=clip.scene, frames=255 - clip.frames) for clip in day]
    write_clips(root / "driving", negatives, "negative", "train")


def make_base(folder: Path, clips: Sequence[Clip]) -> None:
    """An untrained model whose VAE reconstructs ``clips``."""
    torch.manual_seed(0)
    model = TinyWorldModel.from_config(TINY)
    frames = torch.from_numpy(np.stack([clip.frames[0] for clip in clips]))
    initialize_from_pca(model.codec.vae, to_vae_input(frames))
    model.save_pretrained(folder)


def make_calibration(path: Path) -> None:
    rng = np.random.default_rng(0)
    names = ("track_epipolar", "track_reprojection", "pose_yaw", "object_step", "time_cut", "detail_gain")
    measures = [
        Measures(clip_id=f"good-{n}", values=tuple(make_measure(name, 10 * rng.lognormal(0, 0.2)) for name in names))
        for n in range(60)
    ]
    calibrate(measures, name="lenient").save(path)


def copy_caches(nights: Path, target: Path) -> None:
    """Add to ``target`` what is expensive and the same for all nights."""
    target.mkdir(parents=True, exist_ok=True)
    for name in CACHES:
        if (nights / name).is_dir():
            shutil.copytree(nights / name, target / name, dirs_exist_ok=True)
        elif (nights / name).exists():
            shutil.copy(nights / name, target / name)


def outcome_of(nights: Path) -> dict[str, Any]:
    """All that the nights decided and made, by number: it must not depend on interruptions.

    Without times, dates and the random ids of MLflow runs.
    """
    return {str(number): _outcome(RunDir(nights / night.name)) for number, night in enumerate(list_nights(nights))}


def _outcome(run: RunDir) -> dict[str, Any]:
    report = json.loads(_without_names((run.root / "report.json").read_text(), run.root.name))
    report.pop("seconds")
    files = [path for folder in (run.model, run.refused_model) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        "report": report,
        "page": _without_names((run.root / "report.md").read_text().split("## Time")[0], run.root.name),
        "model": {str(path.relative_to(run.root)): path.read_bytes() for path in files},
        "index": (run.shards / "index.json").read_bytes() if run.shards.exists() else None,
        "verdicts": run.verdicts.read_bytes(),
    }


def _without_names(text: str, night: str) -> str:
    return re.sub(r"\b[0-9a-f]{32}\b", "RUN-ID", text.replace(night, "NIGHT"))
