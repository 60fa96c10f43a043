"""Every measure: its name, family, unit, reason code and descriptions, and the function that computes it.

To add a measure, write a function of a ``TrackedView`` (of all views of a clip for the family ``cameras``) that returns
it, and add a row to the table of its family in ``validation/measure_tables``. This is the only list: measuring,
calibration, verdicts and pictures use it.
"""

from driveforge.datasets.errors import UserError, shorten
from driveforge.validation.measure_definition import CRITERIA, MeasureDefinition
from driveforge.validation.measure_tables import appearance, cameras, learned, objects, pose, time, tracks

DEFINITIONS: dict[str, MeasureDefinition] = {
    **tracks.DEFINITIONS,
    **pose.DEFINITIONS,
    **objects.DEFINITIONS,
    **time.DEFINITIONS,
    **appearance.DEFINITIONS,
    **learned.DEFINITIONS,
    **cameras.DEFINITIONS,
}


def get_definition(name: str) -> MeasureDefinition:
    """The definition of a measure, with or without a camera in front (``CAM_BACK/track_epipolar``).

    Raises UserError if the catalog has no such measure.
    """
    definition = DEFINITIONS.get(name.rpartition("/")[2])
    if definition is None:
        raise UserError(f"{shorten(name)} is not a measure: validation/measure_tables has no row for it")
    return definition


def criterion_of(name: str) -> str:
    """The criterion that a measure counts toward."""
    family = get_definition(name).family
    return next(criterion for criterion, families in CRITERIA.items() if family in families)
