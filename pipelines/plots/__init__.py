"""Pictures for people: measured clips, limits, and contact sheets of frames."""
