"""The value of a measure that must have one."""

from driveforge.validation.measures import Measures


def value_of(measures: Measures, name: str) -> float:
    found = measures[name].value
    assert found is not None, measures[name].reason
    return found
