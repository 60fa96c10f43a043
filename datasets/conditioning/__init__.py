"""What a world model is conditioned on, as pictures: the warped first frame, the layout, the rays of the camera."""
