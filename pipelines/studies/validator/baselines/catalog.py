"""What others measure of a clip, made without weights, to be run beside our own measures in a study of validators.

No gate judges by these: they are no part of our catalog and no calibration knows them. Each is a function of one Clip
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

BASELINES: Mapping[str, Callable[[Clip], Measure]] = {
    "baseline_self_fitted_sampson": self_fitted_sampson,
    "baseline_tsed": tsed,
    "baseline_flicker": temporal_flicker,
    "baseline_warping_error": warping_error,
    "baseline_interpolation_residual": interpolation_residual,
}
