"""The instruments that a configuration asks for, loaded once in a process."""

from collections.abc import Callable
from functools import lru_cache

from driveforge.datasets.errors import UserError
from driveforge.pipelines.config.config import ValidateConfig
from driveforge.validation.instruments import Instruments
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import LUCAS_KANADE

# Called in the process that measures; has to be picklable by reference to get there.
InstrumentsLoader = Callable[[], Instruments]


@lru_cache(maxsize=1)
def load_instruments(config: ValidateConfig) -> Instruments:
    """A UserError where weights or a package are missing, before any clip is touched."""
    from driveforge.validation.camera.deep_check import require_pycolmap
    from driveforge.validation.camera.pose_network import load_pose_network

    if config.deep_check:
        require_pycolmap()
    return Instruments(
        tracker=_tracker(config),
        pose_network=load_pose_network(config.pose_network) if config.pose_network else None,
        deep_check=config.deep_check,
    )


def _tracker(config: ValidateConfig) -> PointTracker:
    if config.tracker == "lucas_kanade":
        if config.tracker_weights:
            raise UserError("validate.tracker_weights is given, but lucas_kanade needs none; set validate.tracker too")
        return LUCAS_KANADE
    if config.tracker_weights is None:
        raise UserError("validate.tracker=cotracker needs validate.tracker_weights=FILE; nothing is downloaded")
    from driveforge.validation.point_tracking.cotracker import load_cotracker

    return load_cotracker(config.tracker_weights)
