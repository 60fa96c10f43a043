"""Training of a small detector of simulated vehicles and people, for tests and for the validator study."""
