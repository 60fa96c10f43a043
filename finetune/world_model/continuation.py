"""Unconditional continuation: the model continues a clip from its first frames, without layout or pose."""

# Fewest and most context frames of a training sample. Two are enough to show motion, more reduce the ambiguity.
CONTEXT_FRAMES = (2, 6)
