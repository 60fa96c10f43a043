"""What a reviewer sees and decides: the gallery page, and verdicts against the gate."""
