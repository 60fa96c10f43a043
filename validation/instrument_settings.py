"""Settings of the instruments that measure a clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class InstrumentSettings:
    """The point tracker, the learned measure, and the optional checks of camera poses and of objects."""

    tracker: Annotated[Literal["lucas_kanade", "cotracker"], "point tracker; cotracker needs weights and a GPU"]
    tracker_weights: Annotated[Path | None, "weights of CoTracker3: scaled_offline.pth"]
    learned: Annotated[bool, "also rate vehicles by the artifact network"]
    pose_network: Annotated[Path | None, "a TorchScript file: frames (T, 3, H, W) to camera poses (T, 4, 4)"]
    colmap_check: Annotated[bool, "structure from motion with COLMAP: ten CPU-seconds per camera, from 256 rows on"]
    detector: Annotated[Path | None, "an ONNX file: an image to the boxes and scores of the vehicles in it"]
    detector_labels: Annotated[tuple[int, ...], "labels of the detector that are objects with a box; []: all"]
