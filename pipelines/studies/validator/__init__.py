"""The validator study: what the gate sees of every corruption, what it costs in good clips, and how baselines fare."""
