"""The cross-domain replay buffer and the plan that draws every batch from it."""
