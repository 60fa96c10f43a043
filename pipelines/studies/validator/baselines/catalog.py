"""Published measures of a clip, without weights, as baselines in the validator study.

No gate uses them: they are not in the catalog of measures, and no calibration includes them. Each is a function of one
Clip and uses its reference view without held frames. For all of them *higher is worse*, even if the published score is
a quality, and none is NaN: it is *unmeasurable* with a reason instead.
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
