"""Figures for human review: measured clips, limits, and contact sheets of frames."""
