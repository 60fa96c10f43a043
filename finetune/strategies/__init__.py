"""Ways to learn to drive without forgetting the rest: one class each, one interface."""
