"""Measures of a clip against what was commanded, their calibration, and the verdict."""
