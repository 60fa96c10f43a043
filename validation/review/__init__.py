"""Data for human review of a measured clip: a timeline, its outlier intervals, and drawn tracks."""
