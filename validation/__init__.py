"""Measures of a clip against its command (ego pose, boxes), their calibration, and the verdict.

Start with ``measures``, which computes all measures of a clip, and ``catalog``, which lists them; ``calibration`` has
the limits and ``verdict`` compares both. The layers below, bottom up: ``views`` (one camera), ``point_tracking``,
``camera`` and ``objects`` (measures on point tracks). ``review`` prepares the data for human review, ``corruptions``
corrupts clips to test the measures, and ``set_metrics`` compares whole sets of clips.
"""
