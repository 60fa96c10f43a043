"""What a calibration promises, for people: a sentence, and rows of a table."""

from driveforge.validation.calibration import CONFIDENCE, Calibration
from driveforge.validation.catalog import get_definition
from driveforge.validation.tail_model import TailModel


def describe_false_reject_rate(calibration: Calibration) -> str:
    """The share of good clips that the limits refuse, as promised and as audited, in words."""
    achieved = f"{calibration.thresholds[-1].achieved_rate:.1%}"
    if not (audit := calibration.audit):
        return f"{achieved} (too few scenes for an audit)"
    return (
        f"{achieved}; audited {audit.num_rejected} of {audit.num_clips} clips, "
        f"at {CONFIDENCE:.0%} confidence at most {audit.upper_bound:.1%}"
    )


def typical_limits(calibration: Calibration) -> list[tuple[TailModel, float, float]]:
    """Every measure with its values where the tail of good clips begins and where it is rejected by itself.

    Both are those of usual circumstances, under the threshold of every clip.
    """
    median_measure, score = calibration.covariate_scale(None), calibration.thresholds[-1].score
    return [
        (e, e.value_at(0, median_measure), e.value_at(calibration.nonconformity_at(score, e.measure), median_measure))
        for e in calibration.tail_models
    ]


def calibration_table_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """For a table: family, measure, unit, where the tail of good clips begins, limit, clips it was fitted on."""
    return [
        (
            get_definition(tail_model.measure).family,
            tail_model.measure,
            get_definition(tail_model.measure).unit,
            f"{tail_start:.3g}",
            f"{limit:.3g}",
            str(tail_model.num_fit_clips),
        )
        for tail_model, tail_start, limit in typical_limits(calibration)
    ]
