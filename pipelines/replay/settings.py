"""Settings of replay: the content of the buffer, and its share of a fine-tune."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from driveforge.datasets.settings import Range
from driveforge.replay.mix import ReplayMix


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySettings(ReplayMix):
    """Clips of other domains, mixed into the fine-tune to prevent forgetting of motion."""

    capacity: Annotated[int, "clips that a new buffer keeps on disk", Range(1)]
    buffer: Annotated[
        Path | None, "persistent buffer of `replay add`; null: <run_dir>/replay (replay command: <run_dir>/../replay)"
    ]
    licenses: Annotated[tuple[str, ...] | None, "use only clips under these licenses; null: any"]
    root: Annotated[Path | None, "a folder of videos; null: the procedural domains below"]
    domains: Annotated[tuple[str, ...], "procedural domains, used if root is null"]
    num_scenes: Annotated[int, "procedural clips over all domains", Range(1)]
