"""One camera of a clip: its pixels, its commanded motion, and the commanded boxes in its image."""
