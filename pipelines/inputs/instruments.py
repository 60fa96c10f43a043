"""The measuring instruments that a configuration selects, loaded once per process."""

from collections.abc import Callable
from functools import lru_cache

from driveforge.datasets.errors import UserError
from driveforge.validation.artifact_weights import ARTIFACT_WEIGHTS
from driveforge.validation.instrument_settings import InstrumentSettings
from driveforge.validation.instruments import Detector, Instruments
from driveforge.validation.point_tracking.protocol import PointTracker
from driveforge.validation.point_tracking.tracks import DEFAULT_TRACKER

# Called in the process that measures, so it must be picklable.
InstrumentsLoader = Callable[[], Instruments]


@lru_cache(maxsize=1)
def load_instruments(settings: InstrumentSettings) -> Instruments:
    """The instruments of ``settings``. Raises UserError if weights or a package are missing."""
    from driveforge.validation.camera.colmap_check import require_pycolmap
    from driveforge.validation.camera.pose_network import load_pose_network

    if settings.colmap_check:
        require_pycolmap()
    if settings.learned:
        from driveforge.validation.learned.network import load_artifact_network

        load_artifact_network(ARTIFACT_WEIGHTS)
    return Instruments(
        tracker=_tracker(settings),
        pose_network=load_pose_network(settings.pose_network) if settings.pose_network else None,
        artifact_weights=ARTIFACT_WEIGHTS if settings.learned else None,
        colmap_check=settings.colmap_check,
        detector=_detector(settings),
    )


def _detector(settings: InstrumentSettings) -> Detector | None:
    if settings.detector is None:
        if settings.detector_labels:
            raise UserError("validate.detector_labels is set, but there is no detector; set validate.detector=FILE too")
        return None
    from driveforge.validation.objects.onnx_detector import load_detector

    return load_detector(settings.detector, settings.detector_labels)


def _tracker(settings: InstrumentSettings) -> PointTracker:
    if settings.tracker == "lucas_kanade":
        if settings.tracker_weights:
            raise UserError(
                "validate.tracker_weights is set, but lucas_kanade needs none; set validate.tracker=cotracker too"
            )
        return DEFAULT_TRACKER
    if settings.tracker_weights is None:
        raise UserError("validate.tracker=cotracker needs validate.tracker_weights=FILE; weights are not downloaded")
    from driveforge.validation.point_tracking.cotracker import load_cotracker

    return load_cotracker(settings.tracker_weights)
