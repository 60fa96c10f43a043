"""How drawings of clips name objects and color residuals."""

BAD_PX = 2.0  # reference px: a track with this residual to the command is fully red


def short_id(track: str) -> str:
    """A track's id for display; those of nuScenes have 32 characters."""
    return track if len(track) <= 12 else f"{track[:6]}..."
