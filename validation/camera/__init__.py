"""Measures of the commanded camera motion: epipolar geometry, triangulation, pose, metric scale, camera overlap."""
