"""What a calibration guarantees, as a sentence and as table rows."""

from driveforge.validation.calibration import CONFIDENCE, Calibration
from driveforge.validation.catalog import get_definition
from driveforge.validation.tail_model import TailModel


def describe_false_reject_rate(calibration: Calibration) -> str:
    """The share of good clips that the limits reject, calibrated and audited, as text."""
    achieved = f"{calibration.thresholds[-1].achieved_rate:.1%}"
    if not (audit := calibration.audit):
        return f"{achieved} (too few scenes for an audit)"
    return (
        f"{achieved}; audited {audit.num_rejected} of {audit.num_clips} clips, "
        f"at {CONFIDENCE:.0%} confidence at most {audit.upper_bound:.1%}"
    )


def describe_left_out_covariates(calibration: Calibration) -> str:
    """A sentence that names the measures with limits that do not depend on the covariates; "" if there are none."""
    few = [model.measure for model in calibration.tail_models if not any(model.slopes)]
    if not few:
        return ""
    names = "all measures" if len(few) == len(calibration.tail_models) else ", ".join(few)
    return f"the limits of {names} do not depend on speed, light or noise: too few clips have a value"


def typical_limits(calibration: Calibration) -> list[tuple[TailModel, float, float]]:
    """Every measure with the value where the tail of good clips starts, and with its limit.

    Both are for median covariates, under the threshold of every clip.
    """
    median_covariates, score = calibration.covariate_scale(None), calibration.thresholds[-1].score
    return [
        (
            model,
            model.value_at(0, median_covariates),
            model.value_at(calibration.nonconformity_at(score, model.measure), median_covariates),
        )
        for model in calibration.tail_models
    ]


def calibration_table_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Table rows: family, measure, unit, where the tail of good clips starts, limit, number of fitted clips."""
    return [
        (
            get_definition(tail_model.measure).family,
            tail_model.measure,
            get_definition(tail_model.measure).unit.symbol,
            f"{tail_start:.3g}",
            f"{limit:.3g}",
            str(tail_model.num_fit_clips),
        )
        for tail_model, tail_start, limit in typical_limits(calibration)
    ]
