"""Measures of a clip against what was commanded, their calibration, and the verdict.

Begin with ``measures``, where all that is measured comes together; ``catalog`` has the names, ``calibration`` the
limits, ``verdict`` what comes of both. Below, from the ground up: ``views`` (one camera), ``point_tracking`` (points
through it), ``camera`` and ``objects`` (what points tell), ``review`` (for a person who looks). Beside it,
``corruptions`` corrupt clips to test all this, and ``set_metrics`` compares whole sets of clips.
"""
