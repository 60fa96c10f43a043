"""The validation stage: measure, calibrate, gate, review, corrupt."""
