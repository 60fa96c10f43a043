"""Unconditional continuation: the model continues a clip from its first frames, without commands."""

# Fewest and most context frames of a training sample: two show a motion, more make it surer.
CONTEXT_FRAMES = (2, 6)
