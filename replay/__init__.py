"""The cross-domain replay buffer, and the plan that samples every batch from it."""
