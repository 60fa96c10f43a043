"""From candidates to verdicts: measure, calibrate, gate, review."""
