"""The validator study: detection of every corruption by the gate, its false rejects, and the results of baselines."""
