"""The world model, its conditions, its losses and its Lightning training."""
