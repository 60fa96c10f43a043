"""What clips are measured with beside our own mathematics. By default nothing that needs weights, time or a package."""

from dataclasses import dataclass

from driveforge.validation.camera.pose_network import PoseNetwork
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruments:
    """``colmap_check`` maps the frames with COLMAP, some ten CPU-seconds a camera.

    Limits hold for clips that were measured with the same ``tracker`` as the calibration's.
    """

    tracker: PointTracker = DEFAULT_TRACKER
    pose_network: PoseNetwork | None = None
    colmap_check: bool = False


DEFAULT_INSTRUMENTS = Instruments()
