"""What the world model takes: 1 + 4k frames, sides of whole tokens, and no more of either than it has positions for."""

from driveforge.pipelines.config.build import Range

FRAMES, SIDE = Range(5, 61, step=4), Range(16, 1024, step=16)
