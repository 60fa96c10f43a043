"""What recordings carry and a simulation lacks. A degraded clip is still good: the gate must not reject it."""
