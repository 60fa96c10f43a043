"""The faces of boxes, rectified, and compared between frames."""
