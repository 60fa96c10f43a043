"""Categories of objects: vehicles, and people and riders, who move within their boxes."""

from driveforge.datasets.scene import Track

_NON_RIGID = {"human", "person", "pedestrian", "animal", "bicycle", "motorcycle", "cyclist", "rider"}


def is_person(track: Track) -> bool:
    """Whether an object moves within its box, as pedestrians, riders and animals do."""
    return not _NON_RIGID.isdisjoint(track.category.lower().split("."))
