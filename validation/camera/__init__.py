"""The background against the commanded motion: epipolar lines, fixed points, pose, metric scale, other cameras."""
