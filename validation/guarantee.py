"""What a calibration promises, for people: a sentence, and rows of a table."""

from driveforge.validation.calibration import CONFIDENCE, Calibration
from driveforge.validation.catalogue import definition
from driveforge.validation.tail_model import Expectation


def refused_words(calibration: Calibration) -> str:
    """The share of good clips that the limits refuse, as promised and as audited, in words."""
    promised = f"{calibration.thresholds[-1].achieved_rate:.1%}"
    if not (audit := calibration.audit):
        return f"{promised} (too few scenes for an audit)"
    return (
        f"{promised}; audited {audit.num_rejected} of {audit.num_clips} clips, "
        f"at {CONFIDENCE:.0%} confidence at most {audit.upper:.1%}"
    )


def usual_limits(calibration: Calibration) -> list[tuple[Expectation, float, float]]:
    """Every measure with its values where the tail of good clips begins and where it is rejected by itself.

    Both are those of usual circumstances, under the threshold of every clip.
    """
    usual, score = calibration.covariate_scale(None), calibration.thresholds[-1].score
    return [
        (e, e.value_at(0, usual), e.value_at(calibration.surprise_at(score, e.measure), usual))
        for e in calibration.expectations
    ]


def calibration_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """For a table: family, measure, unit, where the tail of good clips begins, limit, clips it was fitted on."""
    return [
        (
            definition(expectation.measure).family,
            expectation.measure,
            definition(expectation.measure).unit,
            f"{begins:.3g}",
            f"{limit:.3g}",
            str(expectation.num_fit),
        )
        for expectation, begins, limit in usual_limits(calibration)
    ]
