"""What others measure of a clip, made without weights, to be run beside our own measures in a study of validators.

No gate judges by these: they are no part of our catalogue and no calibration knows them. Each is a function of one Clip
and looks at its reference view; held frames are left out. Of all of them *higher is worse*, also of those that are
scores where they come from, and none is ever NaN: *unmeasurable* says why instead.
"""

from collections.abc import Callable, Mapping

from driveforge.datasets.scene import Clip
from driveforge.pipelines.studies.validator.baselines.matches import self_fitted_sampson, tsed
from driveforge.pipelines.studies.validator.baselines.pixels import (
    interpolation_residual,
    temporal_flicker,
    warping_error,
)
from driveforge.validation.records import Measure

PEERS: Mapping[str, Callable[[Clip], Measure]] = {
    "peer_self_fitted_sampson": self_fitted_sampson,
    "peer_tsed": tsed,
    "peer_flicker": temporal_flicker,
    "peer_warping_error": warping_error,
    "peer_interpolation_residual": interpolation_residual,
}
