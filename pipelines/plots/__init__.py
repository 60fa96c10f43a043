"""What people look at: pictures of measured clips, of limits, and sheets of frames."""
