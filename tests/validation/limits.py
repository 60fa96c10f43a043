"""Calibrations with limits written by hand."""

from collections.abc import Mapping

from driveforge.validation.calibration import Calibration, Threshold
from driveforge.validation.covariates import COVARIATES, EVERY_CLIP
from driveforge.validation.measure_definition import CRITERIA
from driveforge.validation.nonconformity import CriterionTail
from driveforge.validation.records import LUCAS_KANADE
from driveforge.validation.tail_model import CovariateScale, TailModel, to_model_scale

FLAT = (0.0,) * len(COVARIATES)


def limits_at(name: str, limits: Mapping[str, float], note: str = "") -> Calibration:
    """Each measure may reach its limit at any covariates, and scores of several measures hardly add up."""
    return Calibration(
        name=name,
        note=note,
        digest="0",
        tracker=LUCAS_KANADE,
        false_reject_rate=0.05,
        num_fit_clips=10,
        covariate_scale=CovariateScale(center=FLAT, width=(1.0,) * len(FLAT)),
        tails=tuple(
            CriterionTail(criterion=criterion, location=0.0, mean_excess=1.0, usual=-100.0) for criterion in CRITERIA
        ),
        thresholds=(Threshold(bucket=EVERY_CLIP, score=0.0, achieved_rate=0.048, num_scenes=20, num_clips=20),),
        tail_models=tuple(
            TailModel(
                measure=measure,
                slopes=FLAT,
                location=to_model_scale(measure, limit),
                mean_excess=1e-3,
                num_fit_clips=10,
            )
            for measure, limit in limits.items()
        ),
    )
