"""Detection power: how many corrupted versions of known-good clips the limits reject, and limits that say nothing.

The rate of false rejects alone does not tell whether limits are useful: limits that accept everything never reject a
good clip.
"""

from collections.abc import Sequence

from driveforge.datasets.errors import UserError
from driveforge.validation.calibration import Calibration, DetectionPower
from driveforge.validation.catalog import get_definition
from driveforge.validation.corruptions.catalog import CORRUPTIONS, GROUPS
from driveforge.validation.guarantee import typical_limits
from driveforge.validation.records import Measures
from driveforge.validation.verdict import judge

# Fewer corrupted clips do not show that limits are useless: clips with weak corruptions may be among them.
MIN_TRIED = 10
# A kind that is caught less often is named.
WEAK_SHARE = 0.2
_LARGEST_SHARE = 1.0 - 1e-6  # of a share, but for rounding


def count_caught(corrupted: Sequence[tuple[str, Measures]], calibration: Calibration) -> tuple[DetectionPower, ...]:
    """The corrupted clips, each with its corruption type, that ``calibration`` does not accept, by type."""
    caught: dict[str, list[bool]] = {}
    for corruption_type, measures in corrupted:
        caught.setdefault(corruption_type, []).append(judge(measures, calibration).state != "accepted")
    return tuple(
        DetectionPower(
            corruption_type=corruption_type,
            strength=float(CORRUPTIONS[corruption_type].strong),
            caught=sum(caught[corruption_type]),
            tried=len(caught[corruption_type]),
        )
        for corruption_type in CORRUPTIONS
        if corruption_type in caught
    )


def require_detection(calibration: Calibration) -> None:
    """Raise UserError if of one group of corruptions no clip was caught among ``MIN_TRIED`` or more."""
    for group in GROUPS:
        rows = [row for row in calibration.power if CORRUPTIONS[row.corruption_type].group == group]
        tried = sum(row.tried for row in rows)
        if tried >= MIN_TRIED and not any(row.caught for row in rows):
            kinds = ", ".join(row.corruption_type for row in rows)
            raise UserError(
                f"{calibration.name}: these limits detect none of {tried} clips with errors of {group} ({kinds}); "
                "calibrate on more clips (validate.num_clips), raise validate.false_reject_rate, or write them "
                "regardless with validate.force=true"
            )


def list_weaknesses(calibration: Calibration) -> list[str]:
    """Sentences on limits that no value can exceed, and on corruptions that are rarely caught; empty if none."""
    never_exceeded = [
        model.measure
        for model, _, limit in typical_limits(calibration)
        if get_definition(model.measure).unit.is_share and limit >= _LARGEST_SHARE
    ]
    weak = [row for row in calibration.power if row.caught < WEAK_SHARE * row.tried]
    sentences = []
    if never_exceeded:
        sentences.append(f"no value exceeds the limit of {', '.join(never_exceeded)}; it counts only with others")
    if weak:
        kinds = ", ".join(f"{row.corruption_type} ({row.caught} of {row.tried})" for row in weak)
        sentences.append(f"rarely caught: {kinds}; more clips or a higher validate.false_reject_rate lower the limits")
    return sentences


def power_table_rows(calibration: Calibration) -> list[tuple[str, ...]]:
    """Table rows: group, corruption, strength with unit, caught of tried."""
    return [
        (
            CORRUPTIONS[row.corruption_type].group,
            row.corruption_type,
            f"{row.strength:g} {CORRUPTIONS[row.corruption_type].unit}",
            f"{row.caught} of {row.tried}",
        )
        for row in calibration.power
    ]
