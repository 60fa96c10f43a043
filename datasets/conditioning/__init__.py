"""Conditioning of a world model as images: the warped first frame, the layout and camera rays."""
