"""Settings of the training of the artifact network; the values are in ``settings.yaml``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactStudy:
    """Simulated clips and optimization."""

    num_clips: Annotated[
        int, "simulated clips; one in eight is held out, one in seven is spoilt, not generated", Range(8)
    ]
    steps: Annotated[int, "optimizer steps", Range(1)]
    batch_size: Annotated[int, "crops per step", Range(6)]
    learning_rate: Annotated[float, "peak of the one-cycle schedule", Range(0)]
    weight_decay: Annotated[float, "of AdamW", Range(0)]
    out: Annotated[Path, "folder for the weights, the recipe and the curve"]
    seed: Annotated[int, "of clips, failures and optimization", Range(0)]
    run_dir: Annotated[Path, "folder for the labeled crops"]
